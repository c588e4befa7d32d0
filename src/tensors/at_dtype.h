#pragma once

#include "src/core/dtype.h"

#include <ATen/core/Tensor.h>

#include <span>

namespace sparity::tensors {

at::ScalarType to_scalar_type(core::Dtype dtype);
/// Throws (exit code 6) for types that files can't hold.
core::Dtype to_dtype(at::ScalarType type);

/// The bytes of a contiguous CPU tensor, borrowed.
std::span<const std::byte> bytes_of(const at::Tensor& tensor);

/// The wider of `type` and float32: "f32(x)" of the specification. A float64 run never narrows.
at::ScalarType at_least_f32(at::ScalarType type);

}  // namespace sparity::tensors
