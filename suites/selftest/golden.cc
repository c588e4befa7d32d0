#include "suites/selftest/golden.h"

#include "src/tensors/at_dtype.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace sparity {

namespace fs = std::filesystem;

namespace {

fs::path goldens_folder() { return fs::path(SPARITY_SOURCE_DIR) / "fixtures/goldens"; }

}  // namespace

Golden::Golden(const std::string& name)
    : folder(goldens_folder() / name),
      checkpoint(tensors::load_checkpoint(folder)),
      inputs(tensors::read_inputs(folder / "inputs.safetensors", checkpoint.config)) {}

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(goldens_folder())) {
    if (fs::exists(entry.path() / "config.json")) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::ranges::sort(names);
  return names;
}

at::Tensor read_tensor(const core::SafetensorsFile& file, const std::string& name) {
  const core::TensorEntry& entry = file.at(name);
  at::Tensor tensor = at::empty(entry.shape, tensors::to_scalar_type(entry.dtype));
  file.read(name, {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()});
  return tensor;
}

}  // namespace sparity
