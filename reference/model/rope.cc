#include "reference/model/rope.h"

#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sparity::reference::model {
namespace {

bool uses_yarn(const core::ModelConfig& config) {
  return config.rope_parameters.rope_type == core::RopeType::kYarn;
}

/// m(a) = 0.1·a·ln(factor) + 1, or 1 for factor ≤ 1.
double mscale(double factor, double a) {
  return factor <= 1.0 ? 1.0 : 0.1 * a * std::log(factor) + 1.0;
}

/// The (fractional) dimension whose pair turns `rotations` times within the original context.
double correction_dimension(const core::RopeParameters& rope, double dim, double rotations) {
  const auto original = static_cast<double>(rope.original_max_position_embeddings);
  return dim * std::log(original / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(rope.rope_theta));
}

/// Keeps fast pairs, divides slow ones by the factor, and mixes those between.
at::Tensor yarn_mix(const at::Tensor& frequencies, const core::RopeParameters& rope, double dim) {
  const double low = std::max(std::floor(correction_dimension(rope, dim, rope.beta_fast)), 0.0);
  double high = std::min(std::ceil(correction_dimension(rope, dim, rope.beta_slow)), dim - 1.0);
  if (low == high) {
    high += 0.001;  // a ramp of no width would divide by zero
  }
  const at::Tensor ramp =
      ((at::arange(frequencies.size(0), frequencies.options()) - low) / (high - low)).clamp(0, 1);
  const at::Tensor smooth = 1 - ramp;
  return frequencies / rope.factor * (1 - smooth) + frequencies * smooth;
}

/// (a, b) turned by the phases whose cos and sin are given.
struct Pair {
  at::Tensor a;
  at::Tensor b;
};
Pair turn(const Pair& x, const RotaryTable& table) {
  const at::Tensor cos = table.cos.unsqueeze(2);  // the same for every head
  const at::Tensor sin = table.sin.unsqueeze(2);
  return {x.a * cos - x.b * sin, x.b * cos + x.a * sin};
}

}  // namespace

at::Tensor inverse_frequencies(const core::ModelConfig& config) {
  const std::int64_t dim = config.qk_rope_head_dim;
  const at::Tensor exponents =
      at::arange(0, dim, 2, at::TensorOptions().dtype(at::kFloat)) / static_cast<double>(dim);
  // The power is correctly rounded (taken in f64, rounded once), so that no library decides a bit.
  const at::Tensor powers =
      at::pow(at::Scalar(config.rope_parameters.rope_theta), exponents.to(at::kDouble));
  const at::Tensor frequencies = powers.to(at::kFloat).reciprocal();
  return uses_yarn(config) ? yarn_mix(frequencies, config.rope_parameters, static_cast<double>(dim))
                           : frequencies;
}

double softmax_scale(const core::ModelConfig& config) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(config.qk_head_dim()));
  const core::RopeParameters& rope = config.rope_parameters;
  const double a = rope.mscale_all_dim.value_or(0.0);
  if (!uses_yarn(config) || a == 0.0) {
    return scale;
  }
  const double m = mscale(rope.factor, a);
  return scale * m * m;
}

double attention_factor(const core::ModelConfig& config) {
  const core::RopeParameters& rope = config.rope_parameters;
  if (!uses_yarn(config)) {
    return 1.0;
  }
  if (rope.attention_factor.has_value()) {
    return *rope.attention_factor;
  }
  const double a = rope.mscale.value_or(0.0);
  const double all_dim = rope.mscale_all_dim.value_or(0.0);
  return a != 0.0 && all_dim != 0.0 ? mscale(rope.factor, a) / mscale(rope.factor, all_dim)
                                    : mscale(rope.factor, 1.0);
}

RotaryTable rotary_table(const core::ModelConfig& config, const at::Tensor& position_ids,
                         at::ScalarType compute, core::Recipe recipe) {
  const at::Tensor frequencies = inverse_frequencies(config).to(position_ids.device());
  // f32 in every dtype: phases are part of the model's definition.
  const at::Tensor phases = position_ids.to(at::kFloat).unsqueeze(-1) * frequencies;
  const at::ScalarType wide = tensors::at_least_f32(compute);
  const at::ScalarType stored = recipe == core::Recipe::kHf ? compute : wide;
  const double factor = attention_factor(config);
  return {(phases.to(wide).cos() * factor).to(stored), (phases.to(wide).sin() * factor).to(stored)};
}

at::Tensor rotate_interleaved(const at::Tensor& x, const RotaryTable& table) {
  const at::Tensor pairs = x.to(table.cos.scalar_type()).unflatten(-1, {x.size(-1) / 2, 2});
  const Pair turned = turn({pairs.select(-1, 0), pairs.select(-1, 1)}, table);
  return at::stack({turned.a, turned.b}, -1).flatten(-2).to(x.scalar_type());
}

at::Tensor rotate_half_split(const at::Tensor& x, const RotaryTable& table) {
  const at::Tensor wide = x.to(table.cos.scalar_type());
  const std::int64_t half = x.size(-1) / 2;
  const Pair turned = turn({wide.narrow(-1, 0, half), wide.narrow(-1, half, half)}, table);
  return at::cat({turned.a, turned.b}, -1).to(x.scalar_type());
}

}  // namespace sparity::reference::model
