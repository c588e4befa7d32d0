#pragma once

#include "src/core/safetensors.h"
#include "src/tensors/checkpoint.h"
#include "src/tensors/inputs.h"

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

namespace sparity {

/// A folder of fixtures/goldens: a checkpoint, inputs, and beside them what transformers computed.
struct Golden {
  explicit Golden(const std::string& name);

  std::filesystem::path folder;
  tensors::Checkpoint checkpoint;
  tensors::Inputs inputs;
};

/// Names of the folders of fixtures/goldens that hold a checkpoint, in ascending order.
std::vector<std::string> golden_names();

/// One tensor of a golden's file, in the dtype in which it is stored.
at::Tensor read_tensor(const core::SafetensorsFile& file, const std::string& name);

}  // namespace sparity
