#pragma once

#include "suites/cases/gradients.h"
#include "suites/cases/suite_context.h"

#include <ATen/core/Tensor.h>

namespace sparity::suites::gradients {

/// Random numbers [B, S, V], zero at padded tokens, whose logits mean nothing.
at::Tensor cotangent_for(const cases::SuiteContext& context, std::string_view name);

/// The candidate, left to its own choices of keys and experts, then truth and baseline under the
/// same ones.
struct ThreeRuns {
  cases::BackwardTrace candidate;
  cases::BackwardTrace baseline;
  cases::BackwardTrace truth;

  cases::BackwardSides sides() const { return {candidate, baseline, truth}; }
};
ThreeRuns run_three(const cases::SuiteContext& context, const cases::BackwardPlan& plan);

/// Marks the record as skipped when the inputs have no labels, and says so.
bool skip_without_labels(const cases::SuiteContext& context, judge::CaseRecord& record);

}  // namespace sparity::suites::gradients
