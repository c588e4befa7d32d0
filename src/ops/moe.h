#pragma once

#include "src/ops/mlp.h"
#include "src/ops/router.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace sparity::ops {

/// sum over a token's experts of weight · expert(x): tokens are sorted by expert (counting sort),
/// each expert runs once on its own rows, and each token sums its K weighted outputs in slot order,
/// so the bits depend on no thread count. x [B, S, D] in A → f32(A) [B, S, D]: weighted and summed
/// in f32(A), not rounded (spec 2.12, D-32). No capacity, no dropping. Keeps its inputs alone for
/// the backward, which runs every expert again over its own tokens; an expert without a token has
/// gradients of zero. Adapters on experts see no dropout.
at::Tensor routed_experts(const at::Tensor& x, const Routing& routing,
                          const std::vector<MlpWeights>& experts);

}  // namespace sparity::ops
