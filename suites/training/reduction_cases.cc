#include "suites/training/reduction_cases.h"

#include "suites/training/objective_runs.h"

#include <fmt/format.h>

#include <cmath>
#include <string>

namespace sparity::suites::training {

namespace {

using cases::Case;
using cases::SuiteContext;
using core::AttentionMode;
using core::KlOptions;
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

/// What the loss is under these options, judged with its gradients and recorded.
ObjectiveSides judge_options(const SuiteContext& context, const KlOptions& options,
                             judge::CaseRecord& record) {
  ObjectiveSides sides = run_objective(context, AttentionMode::kSparse,
                                       {.lm = false, .kl = options, .num_items = kItems});
  judge_kl(context, {sides.candidate.run, sides.baseline, sides.truth}, record);
  const auto value = [](const ObjectiveTrace& side) { return side.run.kl_loss.item<double>(); };
  record.kl_readings.push_back({std::string(core::word_of(options.reduction)),
                                std::string(core::word_of(options.target)),
                                std::string(core::word_of(options.support)), value(sides.truth),
                                value(sides.baseline), value(sides.candidate), "kl_loss"});
  cases::judge_parameter_gradients(
      context, {sides.candidate.shown, sides.baseline.shown, sides.truth.shown}, record);
  return sides;
}

void judge_reduction(const SuiteContext& context, KlReduction reduction,
                     judge::CaseRecord& record) {
  const ObjectiveSides sides = judge_options(context, {.reduction = reduction}, record);
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
  for (const auto& [target, of] : core::option_words<core::KlTarget>()) {
    for (const auto& [support, over] : core::option_words<core::KlSupport>()) {
      const KlOptions options{.target = target, .support = support};
      if (options == KlOptions()) {
        continue;  // what the default reduction is judged under
      }
      all.push_back({"training", fmt::format("kl_target_{}_over_{}", of, over),
                     [options](const SuiteContext& context, judge::CaseRecord& record) {
                       judge_options(context, options, record);
                     }});
    }
  }
  return all;
}

}  // namespace sparity::suites::training
