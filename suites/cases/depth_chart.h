#pragma once

#include "suites/cases/suite_context.h"
#include "suites/judge/record.h"
#include "suites/judge/tolerances.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace sparity::cases {

/// One step along the model, forward or back, seen alone and in the free run.
struct DepthStep {
  std::string tensor;         // that the step makes
  double headroom = 0;        // worst blocking gate of what it computes on true inputs
  double local_error = 0;     // relative, of `tensor`, on true inputs
  double gain = 1;            // relative change of `tensor` over the relative change of its inputs
  double free_error = 0;      // relative, of the candidate left to itself
  double baseline_error = 0;  // the baseline's, left to itself
};

/// rms(x − truth) / rms(truth) over the rows of real tokens; 0/0 is 0. [B, S, …] both.
double relative_error(const SuiteContext& context, const at::Tensor& x, const at::Tensor& truth);

/// A point a step, in order: what its free error should be, from the errors before it and their
/// gains, what it is, and what that is put down to (docs/numerics.md).
std::vector<judge::TracePoint> depth_chart(const SuiteContext& context,
                                           const std::vector<DepthStep>& steps);

}  // namespace sparity::cases
