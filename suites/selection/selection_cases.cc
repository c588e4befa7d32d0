#include "suites/selection/selection_cases.h"

#include "reference/model/mask.h"
#include "suites/attention/truth_attention.h"
#include "suites/cases/trace.h"
#include "suites/judge/gates.h"
#include "suites/judge/selection.h"
#include "suites/selection/engineered_cases.h"
#include "suites/selection/thread_cases.h"
#include "suites/selection/top_k_cases.h"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <string>
#include <utility>

namespace sparity::suites {

namespace {

using cases::SuiteContext;
using cases::Trace;
using cases::TraceSides;

namespace reference = sparity::reference::model;

/// Calls `judge_layer` with the three sides of every layer, each on the truth's input and left to
/// its own choices.
void for_each_layer(
    const SuiteContext& context,
    const std::function<void(std::int64_t layer, const TraceSides& sides)>& judge_layer) {
  const std::vector<cases::StreamState> states = cases::teacher_states(context);
  for (std::int64_t layer = 0; layer < context.config().num_hidden_layers; ++layer) {
    const auto run = [&](const cases::BoundModel& model) {
      return cases::trace_layer(context, model, layer, states[static_cast<std::size_t>(layer)])
          .trace;
    };
    const Trace candidate = run(context.candidate());
    const Trace baseline = run(context.baseline());
    const Trace truth = run(context.truth());
    judge_layer(layer, {.candidate = candidate, .baseline = baseline, .truth = truth});
  }
}

std::string indexer_prefix(std::int64_t layer) {
  return fmt::format("layers.{}.self_attn.indexer.", layer);
}

/// What the layers had to choose between.
std::vector<judge::Condition> conditions_of_choice(const SuiteContext& context,
                                                   std::int64_t rows_left_out,
                                                   std::int64_t baseline_flips) {
  std::vector<judge::Condition> rows = {
      {.name = "rows with more visible keys than index_topk",
       .exercised = rows_left_out > 0,
       .required = context.options().embedded,
       .detail = fmt::format("{} rows over all layers", rows_left_out)}};
  if (context.options().dtype == core::Dtype::kBF16) {
    rows.push_back({.name = "the baseline flips selections",
                    .exercised = baseline_flips > 0,
                    .required = context.options().embedded,
                    .detail = fmt::format("{} flips over all layers", baseline_flips)});
  }
  return rows;
}

/// S1 to S4 of every layer.
void judge_choices(const SuiteContext& context, judge::CaseRecord& record) {
  std::int64_t rows_left_out = 0;
  for_each_layer(context, [&](std::int64_t layer, const TraceSides& sides) {
    const std::string prefix = indexer_prefix(layer);
    cases::judge_selections(context, sides, {prefix + "topk_indices"}, record);
    cases::judge_trace(context, sides, {prefix + "scores"}, record);
    const at::Tensor visible = sides.truth.tensors.at(prefix + "scores").isfinite().sum(-1);
    rows_left_out += visible.gt(context.config().index_topk).sum().item<std::int64_t>();
  });
  std::int64_t baseline_flips = 0;
  for (const judge::SelectionSummary& summary : record.selections) {
    baseline_flips += summary.baseline_flips;
  }
  record.conditions = conditions_of_choice(context, rows_left_out, baseline_flips);
}

/// Per query, row by row: a token for which both sides chose the truth's set.
std::vector<bool> rows_without_flips(const SuiteContext& context, const TraceSides& sides,
                                     const std::string& choice) {
  const std::int64_t keys = context.inputs().input_ids.size(1);
  const auto chosen = [&](const Trace& trace) {
    return reference::support(trace.tensors.at(choice), keys);
  };
  const at::Tensor truth = chosen(sides.truth);
  const at::Tensor same = (chosen(sides.candidate) == truth).all(-1) &
                          (chosen(sides.baseline) == truth).all(-1) & context.inputs().token_mask;
  const at::Tensor flags = same.contiguous();
  const bool* first = flags.const_data_ptr<bool>();
  return std::vector<bool>(first, first + flags.numel());
}

judge::Comparison compare_rows(const SuiteContext& context, const TraceSides& sides,
                               const std::string& name, const std::vector<bool>& keep) {
  const auto kept = [&](const Trace& trace) {
    return judge::keep_blocks(cases::judged(trace.tensors.at(name)), keep);
  };
  const judge::Tensor baseline = kept(sides.baseline);
  judge::TensorClaim claim;
  claim.tensor = name;
  claim.reduction_length = context.reduction_length();
  claim.computed_in = context.options().dtype;
  claim.samples = std::min(context.distinct_tokens(), std::ranges::count(keep, true));
  return judge::compare(claim, kept(sides.candidate), &baseline, kept(sides.truth));
}

/// The attention mass of what flipped rows give up, reported.
judge::Comparison swapped_mass(const SuiteContext& context, const TraceSides& sides,
                               std::int64_t layer) {
  const std::string prefix = indexer_prefix(layer);
  const auto view = [&](const Trace& trace, const char* name) {
    return cases::judged(trace.tensors.at(prefix + name));
  };
  const judge::Tensor candidate_indices = view(sides.candidate, "topk_indices");
  const judge::Tensor weights =
      cases::judged(TruthAttention(context, sides.truth, layer).mean_probabilities());
  judge::Comparison comparison;
  comparison.tensor = prefix + "topk_indices, mass of swapped keys";
  comparison.gates.push_back(judge::swapped_mass_gate(
      {.tensor = prefix + "topk_indices", .k = context.config().index_topk},
      {.indices = &candidate_indices}, view(sides.baseline, "topk_indices"),
      view(sides.truth, "scores"), weights));
  return comparison;
}

/// S6: where no choice differs, a free run's attention agrees as a forced one's does.
void judge_free_rows(const SuiteContext& context, judge::CaseRecord& record) {
  std::int64_t judged_rows = 0;
  for_each_layer(context, [&](std::int64_t layer, const TraceSides& sides) {
    const std::string attention = fmt::format("layers.{}.self_attn", layer);
    const std::vector<bool> keep =
        rows_without_flips(context, sides, indexer_prefix(layer) + "topk_indices");
    const auto count = std::ranges::count(keep, true);
    judged_rows += count;
    if (count > 0) {
      for (const char* name : {".lse", ".attn_output", ""}) {
        record.comparisons.push_back(compare_rows(context, sides, attention + name, keep));
      }
    }
    record.comparisons.push_back(swapped_mass(context, sides, layer));
  });
  record.conditions.push_back({.name = "rows in which no side's choice differs",
                               .exercised = judged_rows > 0,
                               .required = context.options().embedded,
                               .detail = fmt::format("{} rows over all layers", judged_rows)});
}

}  // namespace

std::vector<cases::Case> selection_cases() {
  std::vector<cases::Case> all = engineered_selection_cases();
  std::ranges::move(top_k_cases(), std::back_inserter(all));
  std::ranges::move(thread_cases(), std::back_inserter(all));
  all.push_back({"selection", "every_layer_chooses_as_its_scores_say", judge_choices});
  all.push_back({"selection", "rows_without_flips_agree_in_a_free_run", judge_free_rows});
  return all;
}

}  // namespace sparity::suites
