#include "src/ops/norm.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/ops/norm_backward.h"
#include "src/ops/row_means.h"
#include "src/tensors/at_dtype.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A parallel_for over rows gives each thread at least this many elements.
constexpr std::int64_t kElementsPerTask = 16384;

std::int64_t rows_per_task(std::int64_t columns) {
  return std::max<std::int64_t>(1, kElementsPerTask / std::max<std::int64_t>(1, columns));
}

at::Tensor widened(const at::Tensor& x) {
  return x.to(tensors::at_least_f32(x.scalar_type())).contiguous();
}

template <typename W>
W inverse_rms(W mean_square, double eps) {
  if (planted(Fault::kF40EpsOutsideSqrt)) {
    return W(1) / (std::sqrt(mean_square) + static_cast<W>(eps));
  }
  return W(1) / std::sqrt(mean_square + static_cast<W>(eps));
}

/// Normalises one row held in `row`, in place.
template <typename W>
void normalise_row(W* row, const W* gain, std::int64_t n, double eps) {
  if (planted(Fault::kF41NormSubtractsMean)) {
    const W mean = mean_of(row, n);
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) {
      row[i] -= mean;
    }
  }
  const W scale = inverse_rms(mean_of_products(row, row, n), eps);
  const bool ignored = planted(Fault::kF43GainIgnored);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    row[i] *= scale * (ignored ? W(1) : gain[i]);
  }
}

/// `row_function(wide row buffer, row index)` fills and finishes each row; the result is rounded to
/// A.
template <typename T, typename RowFunction>
at::Tensor map_rows(const at::Tensor& x, RowFunction row_function) {
  at::Tensor y = at::empty_like(x, at::MemoryFormat::Contiguous);
  const std::int64_t n = x.size(-1);
  T* out = y.mutable_data_ptr<T>();
  at::parallel_for(0, x.numel() / n, rows_per_task(n), [&](std::int64_t begin, std::int64_t end) {
    std::vector<Wide<T>> row(static_cast<std::size_t>(n));
    for (std::int64_t r = begin; r < end; ++r) {
      row_function(row.data(), r);
#pragma omp simd
      for (std::int64_t i = 0; i < n; ++i) {
        out[r * n + i] = static_cast<T>(row[static_cast<std::size_t>(i)]);
      }
    }
  });
  return y;
}

/// F42: every channel is normalised over the tokens.
at::Tensor norm_over_tokens(const at::Tensor& x, const at::Tensor& gain, double eps) {
  const at::Tensor wide = x.to(tensors::at_least_f32(x.scalar_type()));
  const at::Tensor mean_square = wide.mul(wide).mean(std::vector<std::int64_t>{-2}, true);
  return wide.mul(mean_square.add(eps).rsqrt()).mul(gain).to(x.scalar_type());
}

void spoil_input(const at::Tensor& x) {
  if (planted(Fault::kF52InputModified)) {
    x.mul_(1.0625);
  }
}

at::Tensor rms_norm_values(const at::Tensor& x, const at::Tensor& gain, double eps) {
  if (planted(Fault::kF42NormOverWrongAxis) && x.dim() > 1) {
    return norm_over_tokens(x, gain, eps);
  }
  const at::Tensor input = x.contiguous();
  const at::Tensor wide_gain = gain.to(tensors::at_least_f32(x.scalar_type())).contiguous();
  at::Tensor y = dispatch_activation(x.scalar_type(), [&](auto tag) {
    using T = decltype(tag);
    const T* in = input.const_data_ptr<T>();
    const auto* g = wide_gain.const_data_ptr<Wide<T>>();
    const std::int64_t n = x.size(-1);
    return map_rows<T>(input, [=](Wide<T>* row, std::int64_t r) {
#pragma omp simd
      for (std::int64_t i = 0; i < n; ++i) {
        row[i] = static_cast<Wide<T>>(in[r * n + i]);
      }
      normalise_row(row, g, n, eps);
    });
  });
  spoil_input(x);
  return y;
}

/// {normed, stream}, both rounded to A once.
variable_list add_rms_norm_values(const at::Tensor& x, const at::Tensor& residual,
                                  const at::Tensor& gain, double eps) {
  if (planted(Fault::kF42NormOverWrongAxis) && x.dim() > 1) {
    const at::Tensor sum = widened(x).add(widened(residual));
    return {norm_over_tokens(sum, gain, eps).to(x.scalar_type()), sum.to(x.scalar_type())};
  }
  const at::Tensor input = x.contiguous();
  const at::Tensor stream = residual.contiguous();
  const at::Tensor wide_gain = gain.to(tensors::at_least_f32(x.scalar_type())).contiguous();
  at::Tensor sum = at::empty_like(input);
  const at::Tensor y = dispatch_activation(x.scalar_type(), [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    const T* in = input.const_data_ptr<T>();
    const T* before = stream.const_data_ptr<T>();
    const W* g = wide_gain.const_data_ptr<W>();
    T* after = sum.mutable_data_ptr<T>();
    const std::int64_t n = x.size(-1);
    return map_rows<T>(input, [=](W* row, std::int64_t r) {
#pragma omp simd
      for (std::int64_t i = 0; i < n; ++i) {
        row[i] = static_cast<W>(in[r * n + i]) + static_cast<W>(before[r * n + i]);
        after[r * n + i] = static_cast<T>(row[i]);
      }
      normalise_row(row, g, n, eps);
    });
  });
  spoil_input(x);
  return {y, sum};
}

at::Tensor layer_norm_values(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias,
                             double eps) {
  const at::Tensor input = x.contiguous();
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  const at::Tensor wide_gain = gain.to(wide).contiguous();
  const at::Tensor wide_bias = bias.to(wide).contiguous();
  return dispatch_activation(x.scalar_type(), [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    const T* in = input.const_data_ptr<T>();
    const W* g = wide_gain.const_data_ptr<W>();
    const W* b = wide_bias.const_data_ptr<W>();
    const std::int64_t n = x.size(-1);
    return map_rows<T>(input, [=](W* row, std::int64_t r) {
#pragma omp simd
      for (std::int64_t i = 0; i < n; ++i) {
        row[i] = static_cast<W>(in[r * n + i]);
      }
      const W mean = mean_of(row, n);
#pragma omp simd
      for (std::int64_t i = 0; i < n; ++i) {
        row[i] -= mean;
      }
      const W scale = W(1) / std::sqrt(mean_of_products(row, row, n) + static_cast<W>(eps));
#pragma omp simd
      for (std::int64_t i = 0; i < n; ++i) {
        row[i] = row[i] * scale * g[i] + b[i];
      }
    });
  });
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gain,
                            double eps) {
    context->save_for_backward({x, gain});
    context->saved_data["eps"] = eps;
    return rms_norm_values(x, gain, eps);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const NormGradients found =
        rms_norm_backward(widened(x), saved[1].to(tensors::at_least_f32(x.scalar_type())),
                          context->saved_data["eps"].toDouble(), widened(gradients[0]));
    return {found.x.to(x.scalar_type()), found.gain.to(saved[1].scalar_type()), at::Tensor()};
  }
};

/// Both summands receive the same gradient: the norm's, of the unrounded sum, plus the stream's.
struct AddRmsNorm : torch::autograd::Function<AddRmsNorm> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const at::Tensor& residual, const at::Tensor& gain, double eps) {
    context->save_for_backward({x, residual, gain});
    context->set_materialize_grads(false);
    context->saved_data["eps"] = eps;
    return add_rms_norm_values(x, residual, gain, eps);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor sum = widened(x).add(widened(saved[1]));
    NormGradients found;
    if (gradients[0].defined()) {
      found = rms_norm_backward(sum, saved[2].to(sum.scalar_type()),
                                context->saved_data["eps"].toDouble(), widened(gradients[0]));
      found.gain = found.gain.to(saved[2].scalar_type());
    } else {
      found.x = at::zeros_like(sum);
    }
    if (gradients[1].defined() && !planted(Fault::kF74ResidualDetached)) {
      found.x.add_(gradients[1]);
    }
    const at::Tensor both = found.x.to(x.scalar_type());
    return {both, both, found.gain, at::Tensor()};
  }
};

struct LayerNorm : torch::autograd::Function<LayerNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gain,
                            const at::Tensor& bias, double eps) {
    context->save_for_backward({x, gain, bias});
    context->saved_data["eps"] = eps;
    return layer_norm_values(x, gain, bias, eps);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const NormGradients found =
        layer_norm_backward(widened(x), saved[1].to(tensors::at_least_f32(x.scalar_type())),
                            context->saved_data["eps"].toDouble(), widened(gradients[0]));
    return {found.x.to(x.scalar_type()), found.gain.to(saved[1].scalar_type()),
            found.bias.to(saved[2].scalar_type()), at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps) {
  return RmsNorm::apply(x, gain, eps);
}

NormedResidual add_rms_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& gain,
                            double eps) {
  const variable_list both = AddRmsNorm::apply(x, residual, gain, eps);
  return {both[0], both[1]};
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias,
                      double eps) {
  return LayerNorm::apply(x, gain, bias, eps);
}

}  // namespace sparity::ops
