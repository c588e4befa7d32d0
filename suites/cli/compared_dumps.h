#pragma once

#include "suites/cli/dump_set.h"
#include "suites/judge/gates.h"
#include "suites/judge/tensor.h"

#include <optional>
#include <string>
#include <vector>

namespace sparity::cli {

/// "trace.….topk_indices" → "trace.….scores".
std::string scores_of(const std::string& choice);

/// The dumps of one comparison as they are judged: padding taken out.
class ComparedDumps {
 public:
  /// As `read_dumps`.
  explicit ComparedDumps(const CompareOptions& options);

  const Dump& candidate() const { return set_.candidate; }
  const Dump& truth() const { return set_.truth; }
  const std::optional<Dump>& baseline() const { return set_.baseline; }
  /// False for a baseline whose origin is only trusted.
  bool baseline_known() const { return set_.baseline_known; }
  core::Dtype dtype() const { return set_.dtype; }
  const std::optional<core::ModelConfig>& config() const { return set_.config; }
  const std::optional<tensors::Inputs>& inputs() const { return set_.inputs; }
  const std::vector<judge::Condition>& conditions() const { return set_.conditions; }

  /// K of the a-priori bounds: every layer's, since a dump is of a free run, and of gradients once
  /// more for the way back; 1 without --model.
  std::int64_t reduction_length(judge::Direction direction = judge::Direction::kForward) const;

  /// How many samples of rounding the run holds, at most: with --inputs the different ids of its
  /// tokens, as in the suites; else its rows, as far as the dump tells.
  std::optional<std::int64_t> samples() const;

  /// What is claimed of the candidate's `tensor`, with the size of what was summed up to it, as
  /// the suites know it, where the truth shows that. `of_truth` has the candidate's shape.
  judge::TensorClaim claim(const std::string& name, const judge::Tensor& tensor,
                           const judge::Tensor& of_truth) const;

  /// Null without a baseline. Throws (exit code 5) when it lacks the tensor or has another shape
  /// than the truth.
  const judge::Tensor* baseline_tensor(const std::string& name) const;

  /// Candidate and truth have the tensor in the same shape.
  bool paired(const std::string& name) const;

  /// The rows of real tokens: a router's padded rows hold no choice that can be told from a wrong
  /// one.
  judge::Tensor without_padding(const judge::Tensor& tensor) const;

  /// What a router chooses by, for real tokens: unbiased scores plus the checkpoint's bias. Needs
  /// --model; throws (exit code 5) when that has other experts.
  judge::Tensor choice_scores(const Dump& dump, const std::string& choice) const;

 private:
  std::optional<double> magnitude(const std::string& name, const judge::Tensor& of_truth) const;
  std::vector<double> router_bias(const std::string& choice) const;
  void blank_padding();

  const CompareOptions& options_;
  DumpSet set_;
  std::vector<bool> rows_;  // which rows are tokens; empty: all
};

}  // namespace sparity::cli
