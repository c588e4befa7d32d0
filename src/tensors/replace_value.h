#pragma once

#include <ATen/core/Tensor.h>

namespace sparity::tensors {

/// `replacement`, bit for bit, in the place of `value`, whose gradient is then the replacement's:
/// the identity on the way back. Without a gradient to pass on, `replacement` itself.
at::Tensor replace_value(const at::Tensor& value, const at::Tensor& replacement);

}  // namespace sparity::tensors
