#pragma once

#include "src/core/forward_options.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace sparity::selftest {

using Doubles = std::vector<double>;
using Integers = std::vector<std::int64_t>;

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr auto kOfficial = core::Recipe::kOfficial;

/// Normal numbers in float64 that depend on nothing but `seed` and the shape.
at::Tensor random_tensor(at::IntArrayRef shape, unsigned seed);

/// A float64 tensor of one dimension.
at::Tensor tensor_of(const Doubles& values);

/// The elements of a floating or an I64 tensor, row by row.
Doubles doubles_of(const at::Tensor& tensor);
Integers integers_of(const at::Tensor& tensor);
/// The elements of a float32 tensor, row by row.
std::vector<float> floats_of(const at::Tensor& tensor);

/// Equal within 1e-12 of the largest expected magnitude; infinities must be the same.
void expect_close(const at::Tensor& tensor, const Doubles& expected);

void append(Doubles& all, const Doubles& more);

}  // namespace sparity::selftest
