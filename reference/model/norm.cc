#include "reference/model/norm.h"

#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/rsqrt.h>

namespace sparity::reference::model {
namespace {

/// x / sqrt(mean(x²) + eps), in the dtype of `x`.
at::Tensor unit_rms(const at::Tensor& x, double eps) {
  const at::Tensor mean_square = (x * x).mean(-1, /*keepdim=*/true);
  return x * at::rsqrt(mean_square + eps);
}

/// Applies the gain to `unit` (f32 or wider) and ends in `activation`.
at::Tensor apply_gain(const at::Tensor& unit, const at::Tensor& weight, at::ScalarType activation,
                      core::Recipe recipe) {
  if (recipe == core::Recipe::kHf) {
    return weight.to(activation) * unit.to(activation);
  }
  return (weight.to(unit.scalar_type()) * unit).to(activation);
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                    core::Recipe recipe) {
  const at::Tensor wide = x.to(tensors::at_least_f32(x.scalar_type()));
  return apply_gain(unit_rms(wide, eps), weight, x.scalar_type(), recipe);
}

Normed add_rms_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
                    double eps, core::Recipe recipe) {
  if (!residual.defined()) {
    return {rms_norm(x, weight, eps, recipe), x};
  }
  if (recipe == core::Recipe::kHf) {
    const at::Tensor stream = x + residual;
    return {rms_norm(stream, weight, eps, recipe), stream};
  }
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  const at::Tensor sum = x.to(wide) + residual.to(wide);
  return {apply_gain(unit_rms(sum, eps), weight, x.scalar_type(), recipe), sum.to(x.scalar_type())};
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps) {
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  const at::Tensor centred = x.to(wide) - x.to(wide).mean(-1, /*keepdim=*/true);
  return (unit_rms(centred, eps) * weight.to(wide) + bias.to(wide)).to(x.scalar_type());
}

}  // namespace sparity::reference::model
