#pragma once

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// Gradients of one normalisation.
struct NormGradients {
  at::Tensor x;     // [..., n]
  at::Tensor gain;  // [n]
  at::Tensor bias;  // [n]; undefined for RMSNorm
};

/// Of y = gain · x · s, s = (mean(x²) + eps)^(−1/2), with g = dy · gain:
///   dx = s · (g − x · s² · mean(g · x)),  dgain = Σ over rows of dy · x · s.
/// All of one wide dtype, x and dy [..., n], but dgain (and dbias), which are float64: sums over
/// many rows. They go by blocks of fixed size that are added in order. The statistics are computed
/// again from x.
NormGradients rms_norm_backward(const at::Tensor& x, const at::Tensor& gain, double eps,
                                const at::Tensor& dy);

/// Of y = gain · z + bias, z = (x − mean) · s, s = (var + eps)^(−1/2), with g = dy · gain:
///   dx = s · (g − mean(g) − z · mean(g · z)),  dgain = Σ dy · z,  dbias = Σ dy.
/// Otherwise as `rms_norm_backward`.
NormGradients layer_norm_backward(const at::Tensor& x, const at::Tensor& gain, double eps,
                                  const at::Tensor& dy);

}  // namespace sparity::ops
