#include "suites/lora/path_cases.h"

#include "src/train/stage.h"
#include "suites/cases/gradient_paths.h"
#include "suites/cases/skips.h"
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
  if (objective.lm && cases::skip_without_labels(bare, record)) {
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
        return tensor.role == core::ParameterRole::kExpert
                   ? arrival_at(truth.shown, tensor.name)
                   : cases::arrival_where_reached(context, truth.shown, tensor.name);
      },
      record);
}

/// The same between adapters as between weights.
void judge_disjoint(const SuiteContext& bare, judge::CaseRecord& record) {
  training::judge_disjoint_losses(
      bare.with_adapters({filled_adapter(bare, config_on(every_module(bare)))}), record);
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
