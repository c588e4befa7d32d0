#include "src/ops/rope.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/tensors/at_dtype.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// YaRN's m(a).
double mscale_of(double factor, double a) {
  return factor <= 1.0 ? 1.0 : 0.1 * a * std::log(factor) + 1.0;
}

/// The pair whose wavelength makes `rotations` turns over the original context.
double correction_dimension(const core::ModelConfig& config, double rotations) {
  const core::RopeParameters& rope = config.rope_parameters;
  const auto original = static_cast<double>(rope.original_max_position_embeddings);
  return static_cast<double>(config.qk_rope_head_dim) *
         std::log(original / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(rope.rope_theta));
}

struct YarnRamp {
  double low = 0;
  double high = 0;

  explicit YarnRamp(const core::ModelConfig& config) {
    const core::RopeParameters& rope = config.rope_parameters;
    low = std::max(std::floor(correction_dimension(config, rope.beta_fast)), 0.0);
    high = std::min(std::ceil(correction_dimension(config, rope.beta_slow)),
                    static_cast<double>(config.qk_rope_head_dim - 1));
    if (low == high) {
      high += 0.001;
    }
  }

  float at(std::int64_t i) const {
    const float position =
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    return std::clamp(position, 0.0F, 1.0F);
  }
};

/// x [B, S, heads, Dr] → the same shape; pair i of a head is (x[first(i)], x[second(i)]).
/// `backwards` turns by the opposite angles.
template <bool kInterleaved>
at::Tensor rotate_values(const at::Tensor& x, const at::Tensor& table, bool backwards) {
  const at::Tensor input = x.contiguous();
  at::Tensor y = at::empty_like(input);
  const std::int64_t heads = x.size(2);
  const std::int64_t pairs = x.size(3) / 2;
  dispatch_activation(x.scalar_type(), [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    const T* in = input.const_data_ptr<T>();
    T* out = y.mutable_data_ptr<T>();
    const W* cos_sin = table.const_data_ptr<W>();
    at::parallel_for(0, x.size(0) * x.size(1), 64, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t token = begin; token < end; ++token) {
        const W* angle = cos_sin + token * pairs * 2;
        for (std::int64_t head = 0; head < heads; ++head) {
          const std::int64_t base = (token * heads + head) * pairs * 2;
          for (std::int64_t i = 0; i < pairs; ++i) {
            const std::int64_t first = base + (kInterleaved ? 2 * i : i);
            const std::int64_t second = base + (kInterleaved ? 2 * i + 1 : i + pairs);
            const W a = static_cast<W>(in[first]);
            const W b = static_cast<W>(in[second]);
            const W c = angle[2 * i];
            const W s = backwards ? -angle[2 * i + 1] : angle[2 * i + 1];
            out[first] = static_cast<T>(a * c - b * s);
            out[second] = static_cast<T>(a * s + b * c);
          }
        }
      }
    });
  });
  return y;
}

/// The transpose of a rotation, scaled by the table's factor, is the one by the opposite angle.
template <bool kInterleaved>
struct Rotate : torch::autograd::Function<Rotate<kInterleaved>> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& table) {
    context->save_for_backward({table});
    return rotate_values<kInterleaved>(x, table, planted(Fault::kF03bRopeSignFlipped));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor table = context->get_saved_variables()[0];
    const bool backwards =
        !planted(Fault::kF03bRopeSignFlipped) && !planted(Fault::kF80RopeBackwardTurnsForward);
    return {rotate_values<kInterleaved>(gradients[0], table, backwards), at::Tensor()};
  }
};

template <bool kInterleaved>
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table) {
  return Rotate<kInterleaved>::apply(x, table.cos_sin);
}

}  // namespace

at::Tensor inverse_frequencies(const core::ModelConfig& config) {
  const core::RopeParameters& rope = config.rope_parameters;
  const std::int64_t pairs = config.qk_rope_head_dim / 2;
  at::Tensor frequencies = at::empty({pairs}, at::kFloat);
  float* f = frequencies.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < pairs; ++i) {
    // float32 step by step; the power itself is correctly rounded, so that no library decides a
    // bit.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(2 * pairs);
    f[i] = 1.0F / static_cast<float>(std::pow(rope.rope_theta, static_cast<double>(exponent)));
  }
  if (rope.rope_type == core::RopeType::kYarn) {
    const YarnRamp ramp(config);
    const auto factor = static_cast<float>(rope.factor);
    for (std::int64_t i = 0; i < pairs; ++i) {
      const float smooth = 1.0F - ramp.at(i);
      f[i] = f[i] / factor * (1.0F - smooth) + f[i] * smooth;
    }
  }
  return frequencies;
}

double attention_factor(const core::ModelConfig& config) {
  const core::RopeParameters& rope = config.rope_parameters;
  if (rope.rope_type != core::RopeType::kYarn) {
    return 1.0;
  }
  if (rope.attention_factor) {
    return *rope.attention_factor;
  }
  const double mscale = rope.mscale.value_or(0.0);
  const double mscale_all_dim = rope.mscale_all_dim.value_or(0.0);
  if (mscale != 0.0 && mscale_all_dim != 0.0) {
    return mscale_of(rope.factor, mscale) / mscale_of(rope.factor, mscale_all_dim);
  }
  return mscale_of(rope.factor, 1.0);
}

double softmax_scale(const core::ModelConfig& config) {
  const core::RopeParameters& rope = config.rope_parameters;
  const std::int64_t dims =
      planted(Fault::kF10ScaleFromNopeDim) ? config.qk_nope_head_dim : config.qk_head_dim();
  double scale = 1.0 / std::sqrt(static_cast<double>(dims));
  const double mscale_all_dim =
      (planted(Fault::kF112SoftmaxScaleFromMscale) ? rope.mscale : rope.mscale_all_dim)
          .value_or(0.0);
  if (rope.rope_type == core::RopeType::kYarn && mscale_all_dim != 0.0 &&
      !planted(Fault::kF03dNoMscaleInSoftmaxScale)) {
    const double m = mscale_of(rope.factor, mscale_all_dim);
    scale *= planted(Fault::kF113MscaleAppliedTwice) ? m * m * m * m : m * m;
  }
  return planted(Fault::kF11ScaleOnePercentHigh) ? 1.01 * scale : scale;
}

RotaryTable rotary_table(const core::ModelConfig& config, const at::Tensor& position_ids,
                         at::ScalarType activation) {
  const at::Tensor frequencies = inverse_frequencies(config);
  const at::Tensor positions = position_ids.contiguous();
  const std::int64_t pairs = frequencies.size(0);
  const double factor = attention_factor(config);
  RotaryTable table{at::empty({positions.size(0), positions.size(1), pairs, 2},
                              tensors::at_least_f32(activation))};
  dispatch_wide(table.cos_sin.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    W* out = table.cos_sin.mutable_data_ptr<W>();
    const auto* p = positions.const_data_ptr<std::int64_t>();
    const float* f = frequencies.const_data_ptr<float>();
    at::parallel_for(0, positions.numel(), 64, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t token = begin; token < end; ++token) {
        for (std::int64_t i = 0; i < pairs; ++i) {
          const float phase = static_cast<float>(p[token]) * f[i];
          W* pair = out + (token * pairs + i) * 2;
          pair[0] = std::cos(static_cast<W>(phase)) * static_cast<W>(factor);
          pair[1] = std::sin(static_cast<W>(phase)) * static_cast<W>(factor);
        }
      }
    });
  });
  return table;
}

at::Tensor rotate_interleaved(const at::Tensor& x, const RotaryTable& table) {
  return planted(Fault::kF02MainRopeHalfSplit) ? rotate<false>(x, table) : rotate<true>(x, table);
}

at::Tensor rotate_half_split(const at::Tensor& x, const RotaryTable& table) {
  return planted(Fault::kF01IndexerRopeInterleaved) ? rotate<true>(x, table)
                                                    : rotate<false>(x, table);
}

}  // namespace sparity::ops
