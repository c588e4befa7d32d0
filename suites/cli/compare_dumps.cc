#include "suites/cli/compare_dumps.h"

#include "src/core/error.h"
#include "src/core/model_config.h"
#include "src/core/safetensors.h"
#include "suites/cli/dump.h"
#include "suites/judge/gates.h"
#include "suites/judge/grouped_selection.h"
#include "suites/judge/name_sets.h"
#include "suites/judge/outcome.h"
#include "suites/judge/selection.h"
#include "suites/judge/tolerances.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <set>

namespace sparity::cli {

namespace {

constexpr std::string_view kChoice = ".topk_indices";
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

bool is_choice(const std::string& name) { return name.ends_with(kChoice); }

std::string scores_of(const std::string& choice) {
  return choice.substr(0, choice.size() - kChoice.size()) + ".scores";
}

/// The dumps of one comparison, padding taken out.
class Dumps {
 public:
  explicit Dumps(const CompareOptions& options)
      : options_(options),
        candidate_(read_dump(options.candidate)),
        truth_(read_dump(options.truth)) {
    if (!options.baseline.empty()) {
      baseline_ = read_dump(options.baseline);
    }
    if (!options.model.empty()) {
      config_ = core::read_model_config(options.model).config;
    }
    blank_padding();
    dtype_ = options.dtype ? *options.dtype : recorded_dtype();
  }

  const Dump& candidate() const { return candidate_; }
  const Dump& truth() const { return truth_; }
  const std::optional<Dump>& baseline() const { return baseline_; }
  core::Dtype dtype() const { return dtype_; }
  const std::optional<core::ModelConfig>& config() const { return config_; }

  /// K of the a-priori bounds: every layer's, since a dump is of a free run; 1 without --model.
  std::int64_t reduction_length() const {
    if (!config_ || !truth_.contains("logits") || truth_.at("logits").shape.size() != 3) {
      return 1;
    }
    return config_->num_hidden_layers *
           judge::layer_reduction_length(*config_, truth_.at("logits").shape[1]);
  }

  /// Tokens of the run, as far as the dump tells: how many samples of rounding it holds at most.
  std::optional<std::int64_t> samples() const {
    if (!rows_.empty()) {
      return std::ranges::count(rows_, true);
    }
    if (!truth_.contains("logits") || truth_.at("logits").shape.size() != 3) {
      return std::nullopt;
    }
    return static_cast<std::int64_t>(truth_.at("logits").rows());
  }

  const judge::Tensor* baseline_tensor(const std::string& name) const {
    if (!baseline_) {
      return nullptr;
    }
    SPARITY_CHECK_INPUT(baseline_->contains(name),
                        fmt::format("{}: tensor '{}': expected as in {}, found none",
                                    baseline_->path, name, truth_.path));
    return &baseline_->at(name);
  }

  /// The rows of real tokens: a router's padded rows hold no choice that can be told from a wrong
  /// one.
  judge::Tensor without_padding(const judge::Tensor& tensor) const {
    return rows_.empty() ? tensor : judge::keep_blocks(tensor, rows_);
  }

  /// What a router chooses by, for real tokens: unbiased scores plus the checkpoint's bias.
  judge::Tensor choice_scores(const Dump& dump, const std::string& choice) const {
    judge::Tensor scores = without_padding(dump.at(scores_of(choice)));
    const std::string gate =
        choice.substr(6, choice.size() - 6 - kChoice.size());  // after "trace."
    const core::ShardedSafetensors files = core::ShardedSafetensors::open(options_.model);
    const std::string name = "model." + gate + ".e_score_correction_bias";
    const auto found = files.tensors().find(name);
    SPARITY_CHECK_INPUT(found != files.tensors().end(),
                        fmt::format("{}: no tensor '{}'", options_.model, name));
    const core::TensorEntry& entry = found->second.entry;
    std::vector<std::byte> bytes(entry.end - entry.begin);
    files.read(name, bytes);
    const std::vector<double> bias = core::widen(bytes, entry.dtype);
    for (std::size_t i = 0; i < scores.values.size(); ++i) {
      scores.values[i] = judge::rounded(scores.values[i] + bias[i % bias.size()], scores.dtype);
    }
    return scores;
  }

 private:
  core::Dtype recorded_dtype() const {
    const auto found = candidate_.metadata.find("dtype");
    if (found == candidate_.metadata.end()) {
      return candidate_.tensors.begin()->second.dtype;
    }
    const auto dtype = core::dtype_from_string(found->second);
    SPARITY_CHECK_INPUT(dtype && core::is_floating(*dtype),
                        fmt::format("{}: metadata 'dtype': expected float32, bfloat16 or float64, "
                                    "found '{}'; pass --dtype",
                                    candidate_.path, found->second));
    return *dtype;
  }

  void blank_padding() {
    if (options_.inputs.empty()) {
      return;
    }
    rows_ = token_rows(options_.inputs);
    const auto blank = [&](Dump& dump) {
      for (auto& [name, tensor] : dump.tensors) {
        if (name.starts_with("grad.")) {
          continue;  // a parameter has no rows of tokens
        }
        const double filler = is_choice(name)                     ? -1
                              : name.ends_with(".indexer.scores") ? kMinusInfinity
                                                                  : 0;
        fill_padding(tensor, rows_, filler);
      }
    };
    blank(candidate_);
    blank(truth_);
    if (baseline_) {
      blank(*baseline_);
    }
  }

  const CompareOptions& options_;
  Dump candidate_;
  Dump truth_;
  std::optional<Dump> baseline_;
  std::optional<core::ModelConfig> config_;
  std::vector<bool> rows_;  // which rows are tokens; empty: all
  core::Dtype dtype_ = core::Dtype::kF32;
};

std::vector<std::string> in_execution_order(const Dump& dump) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : dump.tensors) {
    names.push_back(name);
  }
  std::ranges::stable_sort(names, {}, execution_order);
  return names;
}

/// Both choose the same items in every row, in any order.
bool same_sets(const judge::Tensor& a, const judge::Tensor& b) {
  if (a.shape != b.shape) {
    return false;
  }
  for (std::size_t row = 0; row < a.rows(); ++row) {
    const auto left = a.row(row);
    const auto right = b.row(row);
    if (std::multiset<double>(left.begin(), left.end()) !=
        std::multiset<double>(right.begin(), right.end())) {
      return false;
    }
  }
  return true;
}

void judge_names(const CompareOptions& options, const Dumps& dumps, judge::CaseRecord& record) {
  std::vector<std::string> expected = in_execution_order(dumps.truth());
  const std::vector<std::string> found = in_execution_order(dumps.candidate());
  if (options.partial) {
    std::vector<std::string> absent;
    std::erase_if(expected, [&](const std::string& name) {
      if (!dumps.candidate().contains(name)) {
        absent.push_back(name);
        return true;
      }
      return false;
    });
    for (const std::string& name : absent) {
      record.conditions.push_back({fmt::format("'{}' is compared", name), false, false,
                                   "the candidate's dump does not hold it (--partial)"});
    }
  }
  record.comparisons = judge::compare_names(found, expected);
}

void judge_keys(const Dumps& dumps, const std::string& name, judge::CaseRecord& record) {
  const std::string scores = scores_of(name);
  if (!dumps.truth().contains(scores) || !dumps.baseline()) {
    record.conditions.push_back({fmt::format("choice '{}' is judged", name), false, false,
                                 fmt::format("needs '{}' in the truth and in a baseline", scores)});
    return;
  }
  const judge::Tensor& own_indices = dumps.candidate().at(name);
  const judge::Choice own{
      dumps.candidate().contains(scores) ? &dumps.candidate().at(scores) : nullptr, &own_indices};
  const judge::SelectionClaim claim{.tensor = name,
                                    .k = own_indices.shape.empty() ? 0 : own_indices.shape.back(),
                                    .ties = judge::TiePolicy::kAny,
                                    .reduction_length = dumps.reduction_length(),
                                    .samples = dumps.samples()};
  const judge::SelectionResult result = judge::compare_selection(
      claim, own, {dumps.baseline_tensor(scores), nullptr}, dumps.truth().at(scores));
  record.comparisons.push_back(result.comparison);
  record.selections.push_back(result.summary);
}

void judge_experts(const Dumps& dumps, const std::string& name, judge::CaseRecord& record) {
  const bool possible = dumps.config() && dumps.baseline() &&
                        dumps.candidate().contains(scores_of(name)) &&
                        dumps.truth().contains(scores_of(name));
  if (!possible) {
    record.conditions.push_back(
        {fmt::format("choice '{}' is judged", name), false, false,
         "needs --model (for the routers' biases), --baseline and gate.scores"});
    return;
  }
  dumps.baseline_tensor(scores_of(name));
  const judge::Tensor own = dumps.choice_scores(dumps.candidate(), name);
  const judge::Tensor honest = dumps.choice_scores(*dumps.baseline(), name);
  const judge::Tensor truth = dumps.choice_scores(dumps.truth(), name);
  const judge::GroupedClaim claim{.tensor = name,
                                  .groups = dumps.config()->n_group,
                                  .kept_groups = dumps.config()->topk_group,
                                  .k = dumps.config()->num_experts_per_tok,
                                  .ties = judge::TiePolicy::kAny,
                                  .reduction_length = dumps.reduction_length(),
                                  .samples = dumps.samples()};
  const judge::Tensor chosen = dumps.without_padding(dumps.candidate().at(name));
  const judge::GroupedResult result =
      judge::compare_grouped_selection(claim, {&own, &chosen}, {&honest, nullptr}, truth);
  record.comparisons.push_back(result.groups.comparison);
  record.comparisons.push_back(result.experts.comparison);
  record.selections.push_back(result.experts.summary);
}

/// The weights of a choice belong to its order: with experts listed differently they can't be
/// paired.
void judge_tensor(const Dumps& dumps, const std::string& name, judge::CaseRecord& record) {
  judge::TensorClaim claim;
  claim.tensor = name;
  claim.computed_in = dumps.dtype();
  claim.expected_dtype = dumps.candidate().at(name).dtype;
  claim.reduction_length = dumps.reduction_length();
  claim.samples = dumps.samples();
  if (is_gradient(name)) {
    claim.direction = judge::Direction::kBackward;
    claim.both_axes = dumps.candidate().at(name).shape.size() == 2;
  }
  record.comparisons.push_back(judge::compare(claim, dumps.candidate().at(name),
                                              dumps.baseline_tensor(name), dumps.truth().at(name)));
}

/// The command line that repeats the comparison.
std::string rerun(const CompareOptions& options) {
  std::string line = "sparity compare " + options.candidate + " --truth " + options.truth;
  const auto add = [&](const std::string& flag, const std::string& value) {
    line += value.empty() ? "" : " " + flag + " " + value;
  };
  add("--baseline", options.baseline);
  add("--inputs", options.inputs);
  add("--model", options.model);
  add("--dtype", options.dtype ? std::string(core::to_string(*options.dtype)) : "");
  return line + (options.partial ? " --partial" : "");
}

}  // namespace

judge::CaseRecord compare_dumps(const CompareOptions& options) {
  const Dumps dumps(options);
  judge::CaseRecord record;
  record.suite = "compare";
  record.name = "dump";
  record.config = options.candidate;
  record.rerun = rerun(options);
  record.dtype = std::string(core::to_string(dumps.dtype()));
  record.recipe = dumps.baseline() && dumps.baseline()->metadata.contains("recipe")
                      ? dumps.baseline()->metadata.at("recipe")
                      : "";
  judge_names(options, dumps, record);
  std::string diverged;  // the first choice that the truth did not run with
  for (const std::string& name : in_execution_order(dumps.candidate())) {
    if (!dumps.truth().contains(name)) {
      continue;  // failed by judge_names
    }
    if (!is_choice(name)) {
      judge_tensor(dumps, name, record);
      continue;
    }
    name.ends_with(".indexer.topk_indices") ? judge_keys(dumps, name, record)
                                            : judge_experts(dumps, name, record);
    if (!same_sets(dumps.candidate().at(name), dumps.truth().at(name))) {
      diverged = name;
      break;
    }
  }
  judge::settle(record);
  if (!diverged.empty() && record.verdict == judge::Verdict::kPass) {
    record.verdict = judge::Verdict::kInconclusive;
    record.message = fmt::format(
        "the truth ran with another choice than the candidate's '{}': what comes after was not "
        "judged; "
        "repeat the truth's and the baseline's `sparity run` with --force {} --force-names "
        "'*topk_indices'",
        diverged, options.candidate);
  }
  return record;
}

}  // namespace sparity::cli
