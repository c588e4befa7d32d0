#pragma once

#include "suites/cases/suite_context.h"

#include <ATen/core/Tensor.h>

#include <string_view>

namespace sparity::suites::routing {

/// A router with groups that can lose, whatever the context's config has: 20 experts in 5 groups, 2
/// of which are kept, 3 experts a token, weights scaled by 2.5.
core::ModelConfig grouped_config();

/// f32(A), in which routers work.
at::ScalarType wide_type(const cases::SuiteContext& context);

/// Unbiased scores [2, 37, E], f32(A), multiples of 2⁻¹² in (0, 1): biases on the same grid add to
/// them exactly.
at::Tensor grid_scores(const cases::SuiteContext& context, const core::ModelConfig& config,
                       std::string_view name);

/// A bias [E] on that grid, f32(A): normal with this centre and a spread of 0.25.
at::Tensor grid_bias(const cases::SuiteContext& context, const core::ModelConfig& config,
                     double centre);

/// The router matrix [E, D] and selection bias [E] of the first MoE layer, or seeded ones where the
/// model has none.
struct Router {
  at::Tensor weight;
  at::Tensor bias;
};
Router router_of(const cases::SuiteContext& context);

}  // namespace sparity::suites::routing
