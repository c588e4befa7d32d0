#pragma once

#include "suites/cases/suite_context.h"

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace sparity::suites::gradients {

/// One of the candidate's operations with a backward of its own, on seeded inputs.
struct FusedOp {
  std::string name;
  std::vector<at::Tensor> inputs;  // differentiable ones, in the activation dtype
  /// One output, differentiable in every input. Discrete choices are fixed.
  std::function<at::Tensor(const std::vector<at::Tensor>& inputs)> run;
};

/// All of them, at the sizes of the context's config, in `type`.
std::vector<FusedOp> fused_ops(const cases::SuiteContext& context, at::ScalarType type);

/// Gradients of Σ output · cotangent with respect to every input.
std::vector<at::Tensor> gradients_of(const FusedOp& op, const at::Tensor& cotangent);

}  // namespace sparity::suites::gradients
