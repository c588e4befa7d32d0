#include "suites/gradients/step_cases.h"

#include "suites/cases/skips.h"
#include "suites/gradients/backward_runs.h"

namespace sparity::suites::gradients {

namespace {

using cases::Case;
using cases::SuiteContext;
using core::AttentionMode;

/// Nothing of the loss flows through these, and some exist on one side alone.
bool is_aside(const std::string& name) {
  return name.find(".indexer.") != std::string::npos || name.ends_with(".lse");
}

/// The truth's intermediates and gradients, rounded to what the candidate holds them in, and its
/// choices.
cases::Forced teaching(const cases::BackwardTrace& truth, const cases::BackwardTrace& candidate) {
  cases::Forced forced = cases::selections_of(truth.trace);
  for (const auto& [name, value] : truth.trace.tensors) {
    const auto own = candidate.trace.tensors.find(name);
    if (!is_aside(name) && own != candidate.trace.tensors.end()) {
      forced.emplace(name, value.to(own->second.scalar_type()));
    }
  }
  return forced;
}

void judge_steps(const SuiteContext& context, AttentionMode mode, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const ThreeRuns free = run_three(context, {.inputs = context.inputs(), .attention = mode});
  const cases::BackwardPlan taught{.inputs = context.inputs(),
                                   .attention = mode,
                                   .forced = teaching(free.truth, free.candidate)};
  const cases::BackwardTrace candidate = cases::trace_backward(context.candidate(), taught);
  const cases::BackwardTrace baseline = cases::trace_backward(context.baseline(), taught);
  const cases::BackwardTrace truth = cases::trace_backward(context.truth(), taught);
  cases::judge_intermediate_gradients(context, {candidate, baseline, truth}, record);
  cases::judge_parameter_gradients(context, {candidate, baseline, truth}, record);
}

Case step_case(AttentionMode mode) {
  return {"gradients", "of_each_step_alone_in_" + std::string(core::to_string(mode)) + "_mode",
          [=](const SuiteContext& context, judge::CaseRecord& record) {
            judge_steps(context, mode, record);
          }};
}

}  // namespace

std::vector<Case> step_cases() {
  return {step_case(AttentionMode::kSparse), step_case(AttentionMode::kDense)};
}

}  // namespace sparity::suites::gradients
