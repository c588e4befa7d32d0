#pragma once

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// The three matrices of a SwiGLU block.
struct MlpWeights {
  at::Tensor gate_proj;  // [m, D]
  at::Tensor up_proj;    // [m, D]
  at::Tensor down_proj;  // [D, m]
};

/// down(A(silu(f32(gate x)) · f32(up x))): x [..., D] in A → [..., D] in A; the product is formed
/// in f32(A) and rounded to A before the last matrix (spec 2.10, D-33).
at::Tensor mlp(const at::Tensor& x, const MlpWeights& weights);

}  // namespace sparity::ops
