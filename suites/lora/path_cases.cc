#include "suites/lora/path_cases.h"

#include "src/train/stage.h"
#include "suites/cases/gradient_paths.h"
#include "suites/lora/adapted.h"
#include "suites/training/objective_runs.h"

namespace sparity::suites::lora {

namespace {

using cases::Arrival;
using cases::arrival_at;
using cases::Case;
using cases::SuiteContext;
using core::AttentionMode;
using core::Objective;

/// The losses that reach an adapter on the model, and one on the indexer.
struct Reach {
  bool model;
  bool indexer;
};

/// An expert without a token gets zeros, by the reference's account; all else is decided by what
/// the adapter is on.
void judge_reach(const SuiteContext& bare, const std::string& loss, const Objective& objective,
                 Reach reach, judge::CaseRecord& record) {
  if (objective.lm && training::skip_without_labels(bare, record)) {
    return;
  }
  const SuiteContext context =
      bare.with_adapters({filled_adapter(bare, config_on(every_module(bare)))});
  const training::ObjectiveTrace run =
      training::trace_objective(context, context.candidate(), AttentionMode::kSparse, objective);
  const training::ObjectiveTrace truth =
      training::trace_objective(context, context.truth(), AttentionMode::kSparse, objective,
                                cases::selections_of(run.shown.trace));
  cases::judge_paths(
      context, loss, run.shown,
      [&](const core::ParameterSpec& tensor) {
        const bool reached = train::is_indexer(tensor.role) ? reach.indexer : reach.model;
        if (!reached) {
          return Arrival::kNone;
        }
        return tensor.role == core::ParameterRole::kExpert ? arrival_at(truth.shown, tensor.name)
                                                           : Arrival::kNonZero;
      },
      record);
}

/// The adapters' losses, each beside the other, leave what each leaves alone, bit for bit.
void judge_disjoint(const SuiteContext& bare, judge::CaseRecord& record) {
  if (training::skip_without_labels(bare, record)) {
    return;
  }
  const SuiteContext context =
      bare.with_adapters({filled_adapter(bare, config_on(every_module(bare)))});
  const auto gradients = [&](const Objective& objective) {
    return training::trace_objective(context, context.candidate(), AttentionMode::kSparse,
                                     objective)
        .run.parameters;
  };
  const auto both = gradients({.kl = core::KlOptions()});
  auto alone = gradients({});
  alone.merge(gradients({.lm = false, .kl = core::KlOptions()}));
  record.comparisons.push_back(cases::claim_holds("gradients", both.size() == alone.size(),
                                                  "of as many tensors as of each loss alone"));
  for (const auto& [name, gradient] : alone) {
    const auto own = both.find(name);
    record.comparisons.push_back(
        own == both.end() ? cases::claim_holds(name, false, "has a gradient beside the other loss")
                          : cases::compare_bits(name, own->second, gradient));
  }
}

Case reach_case(const std::string& name, const std::string& loss, const Objective& objective,
                Reach reach) {
  return {"lora", name, [=](const SuiteContext& context, judge::CaseRecord& record) {
            judge_reach(context, loss, objective, reach, record);
          }};
}

}  // namespace

std::vector<Case> path_cases() {
  return {
      reach_case("lm_loss_reaches_the_models_adapters_alone", "LM loss", {},
                 {.model = true, .indexer = false}),
      reach_case("kl_loss_reaches_the_indexers_adapters_alone", "KL loss",
                 {.lm = false, .kl = core::KlOptions()}, {.model = false, .indexer = true}),
      reach_case("both_losses_reach_every_adapter", "LM loss + KL loss", {.kl = core::KlOptions()},
                 {.model = true, .indexer = true}),
      {"lora", "losses_do_not_touch_each_others_adapters", judge_disjoint},
  };
}

}  // namespace sparity::suites::lora
