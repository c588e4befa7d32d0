#include "suites/cli/run_output.h"

#include "src/core/safetensors.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/isfinite.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace sparity::cli {

namespace {

/// Names that hold −inf by definition: masked scores, and the lse of rows without a key.
bool may_be_infinite(const std::string& name) {
  return name.ends_with(".indexer.scores") || name.ends_with(".lse");
}

}  // namespace

RunOutput::RunOutput(core::Dtype dtype)
    : floating_(dtype == core::Dtype::kF64 ? at::kDouble : at::kFloat) {}

void RunOutput::add(const std::string& name, const at::Tensor& value) {
  const at::Tensor stored = (value.is_floating_point() ? value.to(floating_) : value).contiguous();
  if (stored.is_floating_point() && !may_be_infinite(name) &&
      !at::isfinite(stored).all().item().toBool()) {
    non_finite_.push_back(name);
  }
  tensors_.emplace_back(name, stored);
}

void RunOutput::write(const std::string& path, std::map<std::string, std::string> metadata) const {
  std::vector<core::TensorBytes> bytes;
  for (const auto& [name, tensor] : tensors_) {
    bytes.push_back({name, tensors::to_dtype(tensor.scalar_type()), tensor.sizes().vec(),
                     tensors::bytes_of(tensor)});
  }
  metadata["non_finite"] = fmt::format("{}", fmt::join(non_finite_, ","));
  core::write_safetensors(path, std::move(bytes), metadata);
}

}  // namespace sparity::cli
