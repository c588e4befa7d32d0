#include "suites/training/reduction_cases.h"

#include "suites/training/objective_runs.h"

#include <fmt/format.h>

namespace sparity::suites::training {

namespace {

using cases::Case;
using cases::SuiteContext;
using core::AttentionMode;
using core::KlReduction;

constexpr std::int64_t kItems = 23;

/// What Σ over rows and layers is divided by, from the definition (spec 4.2) and the inputs alone.
double divisor(const SuiteContext& context, KlReduction reduction) {
  const auto layers = static_cast<double>(context.config().num_hidden_layers);
  // In token masks without pair masks every token sees itself.
  const auto rows = context.inputs().token_mask.sum().item<double>();
  switch (reduction) {
    case KlReduction::kSum:
      return 1;
    case KlReduction::kMeanRowsLayers:
      return layers * rows;
    case KlReduction::kMeanPositionsLayers:
      return layers * static_cast<double>(context.inputs().input_ids.numel());
    case KlReduction::kNumItems:
      return layers * static_cast<double>(kItems);
    case KlReduction::kLayerSumOfRowMeans:
      return rows;
  }
  return 0;
}

void judge_reduction(const SuiteContext& context, KlReduction reduction,
                     judge::CaseRecord& record) {
  const core::Objective objective{
      .lm = false, .kl = core::KlOptions{.reduction = reduction}, .num_items = kItems};
  const ObjectiveSides sides = run_objective(context, AttentionMode::kSparse, objective);
  judge_kl(context, sides.candidate.run, sides.baseline.run, sides.truth.run, record);
  // The reference divides too: this looks at the candidate's own sums.
  const double sum = sides.candidate.run.kl_layer_sums.to(at::kDouble).sum().item<double>();
  const double found = sides.candidate.run.kl_loss.to(at::kDouble).item<double>();
  const double wanted = sum / divisor(context, reduction);
  judge::Comparison comparison;
  comparison.tensor = fmt::format("kl_loss.{}", core::word_of(reduction));
  comparison.gates.push_back(judge::make_gate(
      "holds", std::abs(found - wanted), 1e-5 * std::abs(wanted), true,
      fmt::format("{:.6f} = {:.6f} / {:g}", found, sum, divisor(context, reduction))));
  record.comparisons.push_back(comparison);
  cases::judge_parameter_gradients(
      context, {sides.candidate.shown, sides.baseline.shown, sides.truth.shown}, record);
}

}  // namespace

std::vector<Case> reduction_cases() {
  std::vector<Case> all;
  for (const auto& [reduction, word] : core::option_words<KlReduction>()) {
    all.push_back({"training", fmt::format("kl_reduction_{}", word),
                   [reduction = reduction](const SuiteContext& context, judge::CaseRecord& record) {
                     judge_reduction(context, reduction, record);
                   }});
  }
  return all;
}

}  // namespace sparity::suites::training
