#pragma once

#include "src/tensors/checkpoint.h"

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

namespace sparity::train {

/// "nan at [3, 5]": the first element of a floating tensor that is not finite; empty when all are.
/// One pass over the tensor's memory, without a temporary of its size.
std::string first_not_finite(const at::Tensor& tensor);

/// Throws (exit code 5) naming file, tensor, value and place when a weight of `checkpoint`, read
/// from `folder`, is not finite.
void check_finite(const tensors::Checkpoint& checkpoint, const std::filesystem::path& folder);

}  // namespace sparity::train
