#include "suites/cli/compared_choices.h"

#include "suites/cli/dump_origin.h"
#include "suites/judge/grouped_selection.h"
#include "suites/judge/outcome.h"
#include "suites/judge/selection.h"

#include <fmt/format.h>

#include <set>

namespace sparity::cli {

namespace {

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

/// The globs under which `sparity run` shows a choice and what it is made by.
std::string trace_flags(const std::string& choice) {
  const std::string_view module =
      choice.ends_with(".indexer.topk_indices") ? "indexer" : "mlp.gate";
  return fmt::format("--trace '*{0}.scores' --trace '*{0}.topk_indices'", module);
}

}  // namespace

std::string ComparedChoices::baseline_line() const {
  return fmt::format(
      "add --baseline FILE, of `sparity run --impl reference --dtype {} --trace '*' --force {} "
      "--force-names '*topk_indices'`",
      core::to_string(dumps_.dtype()), options_.candidate);
}

bool ComparedChoices::leave_open(const std::string& name, const std::string& mend,
                                 judge::CaseRecord& record) {
  const bool own = forced_choices(dumps_.truth()) == 0 &&
                   same_sets(dumps_.candidate().at(name), dumps_.truth().at(name));
  record.conditions.push_back({fmt::format("choice '{}' is judged", name), own, false,
                               own ? "it is the truth's own, which ran free" : mend});
  if (!own) {
    open_.push_back(fmt::format("the choice '{}' was not judged: {}", name, mend));
  }
  return own;
}

bool ComparedChoices::judge_keys(const std::string& name, judge::CaseRecord& record) {
  const std::string scores = scores_of(name);
  if (!dumps_.truth().contains(scores)) {
    return leave_open(
        name, "repeat the truth's and the baseline's `sparity run` with " + trace_flags(name),
        record);
  }
  if (!dumps_.baseline()) {
    return leave_open(name, baseline_line(), record);
  }
  const judge::Tensor& own_indices = dumps_.candidate().at(name);
  const judge::Choice own{
      dumps_.candidate().contains(scores) ? &dumps_.candidate().at(scores) : nullptr, &own_indices};
  const judge::SelectionClaim claim{.tensor = name,
                                    .k = own_indices.shape.empty() ? 0 : own_indices.shape.back(),
                                    .ties = judge::TiePolicy::kAny,
                                    .reduction_length = dumps_.reduction_length(),
                                    .samples = dumps_.samples()};
  const judge::SelectionResult result = judge::compare_selection(
      claim, own, {dumps_.baseline_tensor(scores), nullptr}, dumps_.truth().at(scores));
  record.comparisons.push_back(result.comparison);
  record.selections.push_back(result.summary);
  return true;
}

bool ComparedChoices::judge_experts(const std::string& name, judge::CaseRecord& record) {
  const std::string scores = scores_of(name);
  if (!dumps_.truth().contains(scores)) {
    return leave_open(
        name, "repeat the truth's and the baseline's `sparity run` with " + trace_flags(name),
        record);
  }
  if (!dumps_.paired(scores)) {
    return leave_open(
        name,
        fmt::format("{} must hold '{}' in the truth's shape", dumps_.candidate().path, scores),
        record);
  }
  if (!dumps_.config()) {
    return leave_open(name, "add --model DIR, which holds the routers' biases", record);
  }
  if (!dumps_.baseline()) {
    return leave_open(name, baseline_line(), record);
  }
  dumps_.baseline_tensor(scores);
  const judge::Tensor own = dumps_.choice_scores(dumps_.candidate(), name);
  const judge::Tensor honest = dumps_.choice_scores(*dumps_.baseline(), name);
  const judge::Tensor truth = dumps_.choice_scores(dumps_.truth(), name);
  const judge::GroupedClaim claim{.tensor = name,
                                  .groups = dumps_.config()->n_group,
                                  .kept_groups = dumps_.config()->topk_group,
                                  .k = dumps_.config()->num_experts_per_tok,
                                  .ties = judge::TiePolicy::kAny,
                                  .reduction_length = dumps_.reduction_length(),
                                  .samples = dumps_.samples()};
  const judge::Tensor chosen = dumps_.without_padding(dumps_.candidate().at(name));
  const judge::GroupedResult result =
      judge::compare_grouped_selection(claim, {&own, &chosen}, {&honest, nullptr}, truth);
  record.comparisons.push_back(result.groups.comparison);
  record.comparisons.push_back(result.experts.comparison);
  record.selections.push_back(result.experts.summary);
  return true;
}

bool ComparedChoices::judge(const std::string& name, judge::CaseRecord& record) {
  ++seen_;
  name.ends_with(".indexer.topk_indices") ? judge_keys(name, record) : judge_experts(name, record);
  const judge::Tensor& chosen = dumps_.candidate().at(name);
  const judge::Tensor* honest = dumps_.baseline_tensor(name);
  const bool truth_followed = same_sets(chosen, dumps_.truth().at(name));
  if (truth_followed && (honest == nullptr || same_sets(chosen, *honest))) {
    return true;
  }
  diverged_ = fmt::format(
      "the {} ran with another choice than the candidate's '{}': what comes after was not judged; "
      "repeat the truth's and the baseline's `sparity run` with --force {} --force-names "
      "'*topk_indices'",
      truth_followed ? "baseline" : "truth", name, options_.candidate);
  return false;
}

/// Choices that the run of `dump` was made to follow and that the dumps do not show.
void ComparedChoices::count_followed(const Dump& dump) {
  const std::int64_t forced = forced_choices(dump).value_or(0);
  if (forced > seen_) {
    open_.push_back(fmt::format(
        "{} followed {} choices, and only {} are in the dumps: every dump must hold them, "
        "`sparity run` with --trace '*scores' --trace '*topk_indices'",
        dump.path, forced, seen_));
  }
}

void ComparedChoices::finish(judge::CaseRecord& record) {
  if (followed()) {
    count_followed(dumps_.truth());
    if (dumps_.baseline()) {
      count_followed(*dumps_.baseline());
    }
  }
  if (forced_choices(dumps_.candidate()).value_or(0) > 0) {
    open_.push_back(
        fmt::format("{} followed somebody else's choices (metadata 'forced_choices'): "
                    "repeat its run without --force",
                    dumps_.candidate().path));
  }
  judge::settle(record);
  if (record.verdict != judge::Verdict::kPass || (followed() && open_.empty())) {
    return;
  }
  record.verdict = judge::Verdict::kInconclusive;
  record.message = followed() ? open_.front() : diverged_;
  if (followed() && open_.size() > 1) {
    record.message += fmt::format("; and {} more such", open_.size() - 1);
  }
}

}  // namespace sparity::cli
