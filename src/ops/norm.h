#pragma once

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// y = gain · x / sqrt(mean(x²) + eps) over the last dimension (spec 2.2).
/// x [..., n] in the activation dtype A, gain [n] in any floating dtype; the whole expression is
/// evaluated in f32(x) and rounded to A once (D-28). Returns [..., n] in A. Keeps x for the
/// backward (norm_backward.h), whose results are rounded once too.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps);

/// The residual stream and its norm.
struct NormedResidual {
  at::Tensor normed;    // [..., n], A
  at::Tensor residual;  // [..., n], A
};

/// r = f32(x) + f32(residual); normed = rms_norm of the unrounded r; residual = r rounded to A
/// (D-27). Both summands receive one gradient, of the unrounded r.
NormedResidual add_rms_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& gain,
                            double eps);

/// y = gain · (x − mean) / sqrt(var + eps) + bias over the last dimension, in f32(x), rounded to A
/// once (spec 2.3, D-06).
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias,
                      double eps);

}  // namespace sparity::ops
