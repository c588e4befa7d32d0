#include "suites/stages/parity_cases.h"

#include "suites/cases/skips.h"
#include "suites/stages/step_parity.h"
#include "suites/stages/telling_options.h"

#include <fmt/format.h>

#include <functional>
#include <string>

namespace sparity::suites::stages {

namespace {

using cases::Case;
using cases::SuiteContext;
using train::TrainOptions;

using Change = std::function<void(TrainOptions&)>;
using Adapters = std::function<std::vector<tensors::Adapter>(const SuiteContext&)>;

Case steps_case(const std::string& name, const StageRule& rule, int steps, Change change = {},
                Adapters adapters = {}) {
  return {"stages", name, [=](const SuiteContext& context, judge::CaseRecord& record) {
            if (cases::skip_another_model(context, record)) {
              return;
            }
            TrainOptions options = telling_options(context, rule);
            if (change) {
              change(options);
            }
            train::settle(options);
            judge_steps(context, rule, steps, options,
                        adapters ? adapters(context) : std::vector<tensors::Adapter>(), record);
          }};
}

/// A norm for each group, above the limit in both; everything decays.
void by_group(TrainOptions& options) {
  options.clip_scope = train::ClipScope::kGroup;
  options.clip = kIndexerClip;
  options.decay = train::DecayScope::kAll;
}

}  // namespace

std::vector<Case> parity_cases() {
  std::vector<Case> all;
  for (const StageRule& rule : kStageRules) {
    all.push_back(steps_case(name_of(rule) + "_steps_are_those_of_the_reference", rule, kMostSteps,
                             rule.stage == train::Stage::kJoint ? add_every_loss : Change()));
  }
  all.push_back(steps_case("sparse_step_clipped_by_group", kSparseRule, 1, by_group));
  for (const auto& [reduction, word] : core::option_words<core::KlReduction>()) {
    if (reduction != core::KlOptions().reduction) {
      all.push_back(steps_case(
          fmt::format("indexer_only_step_with_kl_reduction_{}", word), kIndexerOnlyRule, 1,
          [reduction = reduction](TrainOptions& options) { options.kl.reduction = reduction; }));
    }
  }
  all.push_back(
      steps_case("dual_lora_steps_with_dropout", kDualLoraRule, kMostSteps, {}, dropping_adapters));
  return all;
}

}  // namespace sparity::suites::stages
