#include "suites/judge/tensor.h"

#include "src/core/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace sparity::judge {

std::size_t Tensor::columns() const {
  return shape.empty() ? 1 : static_cast<std::size_t>(shape.back());
}

std::size_t Tensor::rows() const { return columns() == 0 ? 0 : values.size() / columns(); }

std::span<const double> Tensor::row(std::size_t index) const {
  return std::span(values).subspan(index * columns(), columns());
}

std::int64_t element_count(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) {
    SPARITY_CHECK(dimension >= 0, "a tensor has the shape " + describe_shape(shape));
    SPARITY_CHECK(
        dimension == 0 || count <= std::numeric_limits<std::int64_t>::max() / dimension,
        "the shape " + describe_shape(shape) + " has more elements than 64 bits can count");
    count *= dimension;
  }
  return count;
}

std::vector<std::int64_t> index_path(std::span<const std::int64_t> shape, std::size_t offset) {
  std::vector<std::int64_t> path(shape.size());
  auto rest = static_cast<std::int64_t>(offset);
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    path[axis] = rest % shape[axis];
    rest /= shape[axis];
  }
  return path;
}

std::string describe_shape(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

double rounded(double x, core::Dtype dtype) {
  if (!core::is_floating(dtype)) {
    return std::nearbyint(x);
  }
  if (dtype == core::Dtype::kF64 || !std::isfinite(x)) {
    return x;
  }
  if (dtype == core::Dtype::kF32) {
    return static_cast<double>(static_cast<float>(x));
  }
  const double step = core::ulp(x, dtype);
  const double result = std::nearbyint(x / step) * step;
  // The largest finite number is (2 − 2u) · 2^e, and 2^(e+1) is what rounding past it gives.
  const int exponent_limit = dtype == core::Dtype::kF16 ? 16 : 128;
  return std::abs(result) < std::ldexp(1.0, exponent_limit)
             ? result
             : std::copysign(std::numeric_limits<double>::infinity(), x);
}

bool representable(double x, core::Dtype dtype) {
  if (!std::isfinite(x)) {
    return core::is_floating(dtype);
  }
  if (dtype == core::Dtype::kBool) {
    return x == 0 || x == 1;
  }
  return rounded(x, dtype) == x;
}

Tensor keep_blocks(const Tensor& tensor, const std::vector<bool>& keep) {
  const auto wanted = static_cast<std::int64_t>(keep.size());
  std::size_t axes = 0;
  std::int64_t blocks = 1;
  while (blocks != wanted && axes < tensor.shape.size()) {
    blocks *= tensor.shape[axes++];
  }
  SPARITY_CHECK(blocks == wanted && wanted > 0,
                fmt::format("a tensor of shape {} does not consist of {} blocks",
                            describe_shape(tensor.shape), wanted));
  const std::size_t length = tensor.values.size() / keep.size();
  Tensor kept{.dtype = tensor.dtype, .shape = {0}, .values = {}};
  kept.shape.insert(kept.shape.end(), tensor.shape.begin() + static_cast<std::ptrdiff_t>(axes),
                    tensor.shape.end());
  for (std::size_t block = 0; block < keep.size(); ++block) {
    if (keep[block]) {
      const auto first = tensor.values.begin() + static_cast<std::ptrdiff_t>(block * length);
      kept.values.insert(kept.values.end(), first, first + static_cast<std::ptrdiff_t>(length));
      ++kept.shape[0];
    }
  }
  return kept;
}

}  // namespace sparity::judge
