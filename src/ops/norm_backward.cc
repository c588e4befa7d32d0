#include "src/ops/norm_backward.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/ops/parallel.h"
#include "src/ops/row_means.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

namespace sparity::ops {

namespace {

/// Rows whose gain gradients one partial sum takes.
constexpr std::int64_t kBlock = 64;

/// One row's dx, and what it adds to the gradients of gain and bias (null: no bias).
template <typename W>
void rms_row(const W* x, const W* gain, W eps, const W* dy, std::int64_t n, W* dx, double* dgain) {
  const W scale = W(1) / std::sqrt(mean_of_products(x, x, n) + eps);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    dx[i] = dy[i] * gain[i];
    dgain[i] += static_cast<double>(dy[i]) * x[i] * scale;
  }
  const bool without = core::planted(core::Fault::kF81NormBackwardWithoutProjection);
  const W projection = without ? W(0) : mean_of_products(dx, x, n) * scale * scale;
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    dx[i] = scale * (dx[i] - x[i] * projection);
  }
}

template <typename W>
void layer_row(const W* x, const W* gain, W eps, const W* dy, std::int64_t n, W* dx, W* z,
               double* dgain, double* dbias) {
  const W mean = mean_of(x, n);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    z[i] = x[i] - mean;
  }
  const W scale = W(1) / std::sqrt(mean_of_products(z, z, n) + eps);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    z[i] *= scale;
    dx[i] = dy[i] * gain[i];
    dgain[i] += static_cast<double>(dy[i]) * z[i];
    dbias[i] += dy[i];
  }
  const W constant = mean_of(dx, n);
  const W projection = mean_of_products(dx, z, n);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    dx[i] = scale * (dx[i] - constant - z[i] * projection);
  }
}

/// Runs `row(r, block)` for every row, blocks spread over threads.
template <typename Row>
void for_each_row(std::int64_t rows, Row row) {
  for_each_item((rows + kBlock - 1) / kBlock, [&](std::int64_t block) {
    for (std::int64_t r = block * kBlock; r < std::min((block + 1) * kBlock, rows); ++r) {
      row(r, block);
    }
  });
}

}  // namespace

NormGradients rms_norm_backward(const at::Tensor& x, const at::Tensor& gain, double eps,
                                const at::Tensor& dy) {
  const std::int64_t n = x.size(-1);
  const std::int64_t rows = x.numel() / n;
  at::Tensor dx = at::empty_like(x);
  at::Tensor partial = at::zeros({(rows + kBlock - 1) / kBlock, n}, at::kDouble);
  dispatch_wide(x.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    const W* in = x.const_data_ptr<W>();
    const W* g = gain.const_data_ptr<W>();
    const W* back = dy.const_data_ptr<W>();
    W* out = dx.mutable_data_ptr<W>();
    double* sums = partial.mutable_data_ptr<double>();
    for_each_row(rows, [=](std::int64_t r, std::int64_t block) {
      rms_row(in + r * n, g, static_cast<W>(eps), back + r * n, n, out + r * n, sums + block * n);
    });
  });
  if (core::planted(core::Fault::kF85GainSumsInBf16)) {
    partial = partial.to(at::kBFloat16);
  }
  return {dx, partial.sum(0).to(at::kDouble), {}};
}

NormGradients layer_norm_backward(const at::Tensor& x, const at::Tensor& gain, double eps,
                                  const at::Tensor& dy) {
  const std::int64_t n = x.size(-1);
  const std::int64_t rows = x.numel() / n;
  at::Tensor dx = at::empty_like(x);
  const at::Tensor normed = at::empty_like(x);
  at::Tensor partial = at::zeros({2, (rows + kBlock - 1) / kBlock, n}, at::kDouble);
  dispatch_wide(x.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    const W* in = x.const_data_ptr<W>();
    const W* g = gain.const_data_ptr<W>();
    const W* back = dy.const_data_ptr<W>();
    W* out = dx.mutable_data_ptr<W>();
    W* z = normed.mutable_data_ptr<W>();
    double* dgain = partial[0].mutable_data_ptr<double>();
    double* dbias = partial[1].mutable_data_ptr<double>();
    for_each_row(rows, [=](std::int64_t r, std::int64_t block) {
      layer_row(in + r * n, g, static_cast<W>(eps), back + r * n, n, out + r * n, z + r * n,
                dgain + block * n, dbias + block * n);
    });
  });
  return {dx, partial[0].sum(0), partial[1].sum(0)};
}

}  // namespace sparity::ops
