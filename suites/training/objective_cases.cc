#include "suites/training/objective_cases.h"

#include "suites/cases/skips.h"
#include "suites/training/objective_runs.h"

#include <fmt/format.h>

namespace sparity::suites::training {

namespace {

using cases::Case;
using cases::SuiteContext;
using core::AttentionMode;
using core::KlOptions;
using core::Objective;

Case objective_case(const std::string& name, AttentionMode mode, const Objective& objective) {
  return {"training", name, [=](const SuiteContext& context, judge::CaseRecord& record) {
            if ((objective.lm && cases::skip_without_labels(context, record)) ||
                (objective.wants_balance() && cases::skip_without_experts(context, record))) {
              return;
            }
            judge_objective(context, run_objective(context, mode, objective), record);
          }};
}

Objective with_balance(core::BalanceRouting routing, core::BalanceScope scope) {
  // A thousand times the usual weight, or its gradient would drown in that of the LM loss.
  return {.balance = {.routing = routing, .scope = scope, .coefficient = 0.1}};
}

}  // namespace

std::vector<Case> objective_cases() {
  std::vector<Case> all = {
      objective_case("kl_of_dense_warm_up", AttentionMode::kDense,
                     {.lm = false, .kl = KlOptions()}),
      objective_case("kl_alone_in_sparse_mode", AttentionMode::kSparse,
                     {.lm = false, .kl = KlOptions()}),
      objective_case("lm_and_kl_scaled", AttentionMode::kSparse,
                     {.kl = KlOptions{.coefficient = 0.3}}),
  };
  for (const core::KlDetach detach : {core::KlDetach::kNone, core::KlDetach::kQOnly}) {
    all.push_back(objective_case(fmt::format("lm_and_kl_with_detach_{}", core::word_of(detach)),
                                 AttentionMode::kSparse, {.kl = KlOptions{.detach = detach}}));
  }
  for (const auto& [routing, word] : core::option_words<core::BalanceRouting>()) {
    for (const auto& [scope, extent] : core::option_words<core::BalanceScope>()) {
      all.push_back(objective_case(fmt::format("lm_and_balance_{}_{}", word, extent),
                                   AttentionMode::kSparse, with_balance(routing, scope)));
    }
  }
  return all;
}

}  // namespace sparity::suites::training
