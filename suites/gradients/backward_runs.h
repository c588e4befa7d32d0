#pragma once

#include "suites/cases/gradients.h"
#include "suites/cases/suite_context.h"

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <string_view>

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

/// Tells which gradients the model itself leaves at zero: a query of a single key receives none,
/// nor does anything in a model of zeros. Runs the truth under the candidate's choices when first
/// asked.
class ZeroInTruth {
 public:
  ZeroInTruth(const cases::SuiteContext& context, cases::BackwardPlan plan,
              const cases::BackwardTrace& candidate);

  bool parameter(const std::string& name);
  bool intermediate(const std::string& name);

 private:
  const cases::BackwardTrace& truth();

  const cases::SuiteContext& context_;
  cases::BackwardPlan plan_;
  std::optional<cases::BackwardTrace> truth_;
};

}  // namespace sparity::suites::gradients
