#pragma once

#include "reference/model/moe.h"
#include "suites/cases/case.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace sparity::suites::moe {

/// "model.layers.N.mlp." of the first MoE layer.
std::string first_moe_prefix(const cases::SuiteContext& context);

/// That layer's weights for the reference: as stored, or widened for the truth when `type` is
/// float64.
reference::model::MoeWeights reference_weights(const cases::SuiteContext& context,
                                               at::ScalarType type);

/// The same case, skipped where the model has no MoE layer.
cases::Case needs_moe(cases::Case c);

/// The whole layer, from normed hidden states to its output, and its symmetries.
std::vector<cases::Case> layer_cases();

}  // namespace sparity::suites::moe
