#pragma once

#include <cstdint>

namespace sparity::ops {

/// Columns of a row product come in multiples of this: what rows are padded to.
constexpr std::int64_t kColumnStep = 8;

constexpr std::int64_t padded(std::int64_t columns) {
  return (columns + kColumnStep - 1) / kColumnStep * kColumnStep;
}

/// A small product of matrices whose rows lie anywhere, so that chosen keys need not be gathered:
///   out[m][n] = (add ? out[m][n] : 0) + Σ_k a[m][k · step] · b[k][n],
/// 0 ≤ m < rows, 0 ≤ k < terms, 0 ≤ n < columns, a multiple of kColumnStep; a column of a matrix is
/// a[m] = base + m with step = its width. Rows of `out` are written in order, one may come twice.
void row_product(const float* const* a, std::int64_t step, const float* const* b, float* const* out,
                 std::int64_t rows, std::int64_t terms, std::int64_t columns, bool add);
void row_product(const double* const* a, std::int64_t step, const double* const* b,
                 double* const* out, std::int64_t rows, std::int64_t terms, std::int64_t columns,
                 bool add);

}  // namespace sparity::ops
