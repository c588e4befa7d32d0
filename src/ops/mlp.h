#pragma once

#include "src/ops/linear.h"

#include <ATen/core/Tensor.h>

#include <optional>

namespace sparity::ops {

/// The three matrices of a SwiGLU block.
struct MlpWeights {
  LinearWeight gate_proj;  // [m, D]
  LinearWeight up_proj;    // [m, D]
  LinearWeight down_proj;  // [D, m]
};

/// A(silu(f32(gate)) · f32(up)), both contiguous and of one dtype A; saves both for the backward.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

struct SwigluGradients {
  at::Tensor gate;
  at::Tensor up;
};

/// With σ = sigmoid(f32(gate)): dgate = dy · up · σ · (1 + gate · (1 − σ)), dup = dy · gate · σ, in
/// f32(A), each rounded to A once.
SwigluGradients swiglu_backward(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& dy);

/// down(A(silu(f32(gate x)) · f32(up x))): x [..., D] in A → [..., D] in A; the product is formed
/// in f32(A) and rounded to A before the last matrix (spec 2.10, D-33). `draw` as in `linear`.
at::Tensor mlp(const at::Tensor& x, const MlpWeights& weights,
               const std::optional<tensors::DropoutDraw>& draw = std::nullopt);

}  // namespace sparity::ops
