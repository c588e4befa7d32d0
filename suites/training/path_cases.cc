#include "suites/training/path_cases.h"

#include "suites/cases/gradient_paths.h"
#include "suites/cases/skips.h"
#include "suites/training/objective_runs.h"

#include <fmt/format.h>

namespace sparity::suites::training {

namespace {

using cases::Arrival;
using cases::arrival_at;
using cases::arrival_where_reached;
using cases::Case;
using cases::SuiteContext;
using core::AttentionMode;
using core::KlDetach;
using core::KlOptions;
using core::Objective;
using core::ParameterRole;

bool is_indexer(const core::ParameterSpec& parameter) {
  return parameter.role == ParameterRole::kIndexer ||
         parameter.role == ParameterRole::kIndexerNormGain ||
         parameter.role == ParameterRole::kIndexerNormBias;
}

/// One objective of candidate and truth, under the candidate's choices.
struct TwoSides {
  cases::BackwardTrace candidate;
  cases::BackwardTrace truth;

  TwoSides(const SuiteContext& context, AttentionMode mode, const Objective& objective)
      : candidate(trace_objective(context, context.candidate(), mode, objective).shown),
        truth(trace_objective(context, context.truth(), mode, objective,
                              cases::selections_of(candidate.trace))
                  .shown) {}
};

/// The KL loss trains the indexer, all of it, and nothing else.
void judge_kl_alone(const SuiteContext& context, AttentionMode mode, judge::CaseRecord& record) {
  const Objective objective{.lm = false, .kl = KlOptions()};
  const TwoSides run(context, mode, objective);
  cases::judge_paths(
      context, fmt::format("KL loss, {}", core::to_string(mode)), run.candidate,
      [&](const core::ParameterSpec& parameter) {
        return is_indexer(parameter) ? arrival_where_reached(context, run.truth, parameter.name)
                                     : Arrival::kNone;
      },
      record);
}

/// Beside the KL loss the LM loss reaches what it reaches alone, by the reference's account.
void judge_both(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const TwoSides both(context, AttentionMode::kSparse, {.kl = KlOptions()});
  const ObjectiveTrace lm = trace_objective(context, context.truth(), AttentionMode::kSparse, {},
                                            cases::selections_of(both.candidate.trace));
  cases::judge_paths(
      context, "LM loss + KL loss", both.candidate,
      [&](const core::ParameterSpec& parameter) {
        return is_indexer(parameter) ? arrival_where_reached(context, both.truth, parameter.name)
                                     : arrival_at(lm.shown, parameter.name);
      },
      record);
}

/// The KL loss of the last layer, where nothing of the layers above can hide behind it. Both inputs
/// cut, it stays in the indexer; what the fork's `detach_indexer_input` leaves open: with the query
/// latent cut alone it still goes through the hidden state; with nothing cut, through both.
void judge_last_layer(const SuiteContext& context, KlDetach detach, judge::CaseRecord& record) {
  const Objective objective{.lm = false, .kl = KlOptions{.detach = detach}};
  const TwoSides run(context, AttentionMode::kSparse, objective);
  const std::string last = fmt::format("model.layers.{}.", context.config().num_hidden_layers - 1);
  const auto expect = [&](const std::string& parameter, bool reached) {
    const Arrival wanted =
        reached ? arrival_where_reached(context, run.truth, parameter) : Arrival::kNone;
    const char* note = "the loss does not reach it";
    if (reached) {
      note = wanted == Arrival::kZero ? "the loss reaches it with exact zeros, as the reference's"
                                      : "the loss reaches it";
    }
    record.comparisons.push_back(cases::claim_holds(
        "grad." + parameter, arrival_at(run.candidate, parameter) == wanted, note));
  };
  expect(last + "self_attn.indexer.wk.weight", true);
  expect(last + "self_attn.q_a_proj.weight", detach == KlDetach::kNone);
  expect(last + "input_layernorm.weight", detach != KlDetach::kBoth);
  for (const char* never : {"self_attn.q_b_proj.weight", "self_attn.kv_a_proj_with_mqa.weight",
                            "self_attn.kv_b_proj.weight", "self_attn.o_proj.weight"}) {
    expect(last + never, false);  // the target is detached
  }
  expect("lm_head.weight", false);
}

Case path_case(const std::string& name,
               std::function<void(const SuiteContext&, judge::CaseRecord&)> run) {
  return {"training", name, std::move(run)};
}

}  // namespace

std::vector<Case> path_cases() {
  std::vector<Case> all;
  for (const KlDetach detach : {KlDetach::kBoth, KlDetach::kQOnly, KlDetach::kNone}) {
    all.push_back(
        path_case(fmt::format("kl_loss_of_the_last_layer_with_detach_{}", core::word_of(detach)),
                  [detach](const SuiteContext& context, judge::CaseRecord& record) {
                    judge_last_layer(context, detach, record);
                  }));
  }
  for (const AttentionMode mode : {AttentionMode::kSparse, AttentionMode::kDense}) {
    all.push_back(path_case(
        fmt::format("kl_loss_reaches_the_indexer_alone_in_{}_mode", core::to_string(mode)),
        [mode](const SuiteContext& context, judge::CaseRecord& record) {
          judge_kl_alone(context, mode, record);
        }));
  }
  all.push_back(path_case("lm_and_kl_loss_each_reach_their_own", judge_both));
  all.push_back(path_case("lm_and_kl_loss_do_not_touch_each_other", judge_disjoint_losses));
  return all;
}

}  // namespace sparity::suites::training
