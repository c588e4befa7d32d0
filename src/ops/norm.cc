#include "src/ops/norm.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/tensors/at_dtype.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty_like.h>

#include <cmath>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

/// A parallel_for over rows gives each thread at least this many elements.
constexpr std::int64_t kElementsPerTask = 16384;

std::int64_t rows_per_task(std::int64_t columns) {
  return std::max<std::int64_t>(1, kElementsPerTask / std::max<std::int64_t>(1, columns));
}

template <typename W>
W mean_of_squares(const W* row, std::int64_t n) {
  W sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    sum += row[i] * row[i];
  }
  return sum / static_cast<W>(n);
}

template <typename W>
W mean_of(const W* row, std::int64_t n) {
  W sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    sum += row[i];
  }
  return sum / static_cast<W>(n);
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
    for (std::int64_t i = 0; i < n; ++i) {
      row[i] -= mean;
    }
  }
  const W scale = inverse_rms(mean_of_squares(row, n), eps);
  for (std::int64_t i = 0; i < n; ++i) {
    row[i] *= scale * (planted(Fault::kF43GainIgnored) ? W(1) : gain[i]);
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

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps) {
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
      for (std::int64_t i = 0; i < n; ++i) {
        row[i] = static_cast<Wide<T>>(in[r * n + i]);
      }
      normalise_row(row, g, n, eps);
    });
  });
  spoil_input(x);
  return y;
}

NormedResidual add_rms_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& gain,
                            double eps) {
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  const at::Tensor sum = x.to(wide).add(residual.to(wide));
  const at::Tensor normed = rms_norm(sum, gain, eps);
  return {normed.to(x.scalar_type()), sum.to(x.scalar_type())};
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias,
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
      for (std::int64_t i = 0; i < n; ++i) {
        row[i] = static_cast<W>(in[r * n + i]);
      }
      const W mean = mean_of(row, n);
      for (std::int64_t i = 0; i < n; ++i) {
        row[i] -= mean;
      }
      const W scale = W(1) / std::sqrt(mean_of_squares(row, n) + static_cast<W>(eps));
      for (std::int64_t i = 0; i < n; ++i) {
        row[i] = row[i] * scale * g[i] + b[i];
      }
    });
  });
}

}  // namespace sparity::ops
