#include "suites/cli/compared_dumps.h"

#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "suites/cases/case.h"
#include "suites/cases/magnitudes.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/tolerances.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/masked_select.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string_view>

namespace sparity::cli {

namespace {

constexpr std::string_view kTrace = "trace.";
constexpr std::string_view kChoice = ".topk_indices";

/// "trace.layers.3.mlp.gate.topk_indices" → "layers.3.mlp.gate".
std::string module_of(const std::string& choice) {
  return choice.substr(kTrace.size(), choice.size() - kTrace.size() - kChoice.size());
}

/// In float64, which every floating tensor of a dump is widened to.
at::Tensor as_tensor(const judge::Tensor& tensor) {
  at::Tensor values = at::empty(tensor.shape, at::kDouble);
  std::ranges::copy(tensor.values, values.mutable_data_ptr<double>());
  return values;
}

}  // namespace

std::string scores_of(const std::string& choice) {
  return choice.substr(0, choice.size() - kChoice.size()) + ".scores";
}

ComparedDumps::ComparedDumps(const CompareOptions& options)
    : options_(options), set_(read_dumps(options)) {
  if (set_.inputs) {
    blank_padding();
  }
}

std::int64_t ComparedDumps::reduction_length(judge::Direction direction) const {
  if (!config() || !truth().contains("logits") || truth().at("logits").shape.size() != 3) {
    return 1;
  }
  return (direction == judge::Direction::kBackward ? 2 : 1) * config()->num_hidden_layers *
         judge::layer_reduction_length(*config(), truth().at("logits").shape[1]);
}

judge::TensorClaim ComparedDumps::claim(const std::string& name, const judge::Tensor& tensor,
                                        const judge::Tensor& of_truth) const {
  judge::TensorClaim claim;
  claim.tensor = name;
  claim.computed_in = dtype();
  claim.expected_dtype = tensor.dtype;
  claim.direction = is_gradient(name) ? judge::Direction::kBackward : judge::Direction::kForward;
  claim.both_axes = is_gradient(name) && tensor.shape.size() == 2;
  claim.reduction_length = reduction_length(claim.direction);
  claim.samples = samples();
  if (claim.samples && (is_gradient(name) || tensor.shape.empty())) {
    // A few cells are as few samples, however many tokens were added up.
    claim.samples = std::min(*claim.samples, judge::element_count(of_truth.shape));
  }
  claim.magnitude = magnitude(name, of_truth);
  return claim;
}

std::optional<double> ComparedDumps::magnitude(const std::string& name,
                                               const judge::Tensor& of_truth) const {
  const cases::Shown shown = [this](const std::string& other) {
    const std::string stored = std::string(kTrace) + other;
    return truth().contains(stored) ? as_tensor(truth().at(stored)) : at::Tensor();
  };
  if (is_gradient(name)) {
    return cases::summed_size(name, shown, as_tensor(of_truth));
  }
  if (!name.ends_with(".indexer.scores") || judge::widening(samples()) == 1) {
    return std::nullopt;
  }
  const at::Tensor terms = cases::score_terms(name.substr(kTrace.size()), shown);
  return terms.defined() ? std::optional(judge::rms(cases::judged(terms).values)) : std::nullopt;
}

std::optional<std::int64_t> ComparedDumps::samples() const {
  if (set_.inputs) {
    const at::Tensor ids = set_.inputs->input_ids.masked_select(set_.inputs->token_mask);
    const std::int64_t* first = ids.const_data_ptr<std::int64_t>();
    return std::ssize(std::set<std::int64_t>(first, first + ids.numel()));
  }
  if (!truth().contains("logits") || truth().at("logits").shape.size() != 3) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(truth().at("logits").rows());
}

const judge::Tensor* ComparedDumps::baseline_tensor(const std::string& name) const {
  if (!baseline()) {
    return nullptr;
  }
  SPARITY_CHECK_INPUT(baseline()->contains(name),
                      fmt::format("{}: tensor '{}': expected as in {}, found none",
                                  baseline()->path, name, truth().path));
  const judge::Tensor& tensor = baseline()->at(name);
  const judge::Tensor& expected = truth().at(name);
  SPARITY_CHECK_INPUT(tensor.shape == expected.shape,
                      fmt::format("{}: tensor '{}': expected shape {} as in {}, found {}",
                                  baseline()->path, name, judge::describe_shape(expected.shape),
                                  truth().path, judge::describe_shape(tensor.shape)));
  return &tensor;
}

bool ComparedDumps::paired(const std::string& name) const {
  return candidate().contains(name) && truth().contains(name) &&
         candidate().at(name).shape == truth().at(name).shape;
}

judge::Tensor ComparedDumps::without_padding(const judge::Tensor& tensor) const {
  return rows_.empty() ? tensor : judge::keep_blocks(tensor, rows_);
}

judge::Tensor ComparedDumps::choice_scores(const Dump& dump, const std::string& choice) const {
  judge::Tensor scores = without_padding(dump.at(scores_of(choice)));
  const std::vector<double> bias = router_bias(choice);
  SPARITY_CHECK_INPUT(
      scores.columns() == bias.size() && std::ssize(bias) == config()->n_routed_experts,
      fmt::format("{}: tensor '{}': expected {} experts as in {}, found {}", dump.path,
                  scores_of(choice), bias.size(), options_.model, scores.columns()));
  for (std::size_t i = 0; i < scores.values.size(); ++i) {
    scores.values[i] = judge::rounded(scores.values[i] + bias[i % bias.size()], scores.dtype);
  }
  return scores;
}

std::vector<double> ComparedDumps::router_bias(const std::string& choice) const {
  const core::ShardedSafetensors files = core::ShardedSafetensors::open(options_.model);
  const std::string name = "model." + module_of(choice) + ".e_score_correction_bias";
  const auto found = files.tensors().find(name);
  SPARITY_CHECK_INPUT(found != files.tensors().end(),
                      fmt::format("{}: tensor '{}': expected for the choice '{}', found none",
                                  options_.model, name, choice));
  const core::TensorEntry& entry = found->second.entry;
  std::vector<std::byte> bytes(entry.end - entry.begin);
  files.read(name, bytes);
  return core::widen(bytes, entry.dtype);
}

void ComparedDumps::blank_padding() {
  constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
  const bool* token = set_.inputs->token_mask.const_data_ptr<bool>();
  rows_.assign(token, token + set_.inputs->token_mask.numel());
  const auto blank = [&](Dump& dump) {
    for (auto& [name, tensor] : dump.tensors) {
      if (name.starts_with("grad.")) {
        continue;  // a parameter has no rows of tokens
      }
      const bool masked = name.ends_with(".indexer.scores") && !is_gradient(name);
      const double filler = is_choice(name) ? -1 : masked ? kMinusInfinity : 0;
      fill_padding(tensor, rows_, filler);
    }
  };
  blank(set_.candidate);
  blank(set_.truth);
  if (set_.baseline) {
    blank(*set_.baseline);
  }
}

}  // namespace sparity::cli
