#pragma once

#include "src/core/dtype.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace sparity::judge {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A tensor as the comparator sees it: host memory, row-major, every element widened exactly to
/// double (core::widen). It is read as a matrix of rows × columns, columns being the last
/// dimension; scalars and vectors are one row.
struct Tensor {
  core::Dtype dtype = core::Dtype::kF32;  // of the stored elements, before widening
  std::vector<std::int64_t> shape;
  std::vector<double> values;

  std::size_t columns() const;  // 1 for a scalar
  std::size_t rows() const;     // 1 for scalars and vectors; 0 when any dimension is 0
  std::span<const double> row(std::size_t index) const;
};

/// Product of the dimensions; 1 for a scalar. Throws (exit code 6) for a negative dimension.
std::int64_t element_count(std::span<const std::int64_t> shape);

/// Row-major index path of the element at `offset`.
std::vector<std::int64_t> index_path(std::span<const std::int64_t> shape, std::size_t offset);

/// "[2, 53, 72]".
std::string describe_shape(std::span<const std::int64_t> shape);

/// `x` rounded once to `dtype`, to nearest, ties to even; overflow becomes infinity. Integer types
/// leave integers alone. Non-finite values pass through.
double rounded(double x, core::Dtype dtype);

/// Whether `x` is a value of `dtype` (non-finite values are values of every floating type).
bool representable(double x, core::Dtype dtype);

/// The blocks of `tensor` whose flag is set, as [kept, rest…]: the leading dimensions whose product
/// is `keep.size()` become one. Throws (exit code 6) when no prefix of the shape has that many
/// blocks.
Tensor keep_blocks(const Tensor& tensor, const std::vector<bool>& keep);

}  // namespace sparity::judge
