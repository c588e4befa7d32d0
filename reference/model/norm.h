#pragma once

#include "src/core/forward_options.h"

#include <ATen/core/Tensor.h>

namespace sparity::reference::model {

/// RMSNorm over the last dimension: y = w · x / sqrt(mean(x²) + eps). No mean is subtracted.
/// x [..., n] in the activation dtype, weight [n]; returns [..., n] in x's dtype. Mean, root and
/// quotient are f32 or wider. Rounds once at the end under `official` (gain multiplied before the
/// cast, D-28); under `hf` the quotient is rounded first and the product again. Spec 2.2.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, core::Recipe recipe);

/// A normalised sum and the residual stream that goes on beside it, both [..., n] in the activation
/// dtype.
struct Normed {
  at::Tensor normed;
  at::Tensor residual;
};

/// r = x + residual, returned as {RMSNorm(r), r}. Under `official` the f32 sum is normalised
/// unrounded and only the stream is rounded; under `hf` the sum is rounded first (D-27). An
/// undefined `residual` is the start of the stream: r = x. Spec 2.2, 2.13.
Normed add_rms_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
                    double eps, core::Recipe recipe);

/// LayerNorm over the last dimension: y = w · (x − mean(x)) / sqrt(var(x) + eps) + b, var biased
/// (divided by n). x [..., n], weight and bias [n]; computed in f32 or wider and rounded to x's
/// dtype once, by both recipes (D-06: they differ in the dtype that the parameters are kept in).
/// Spec 2.3.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps);

}  // namespace sparity::reference::model
