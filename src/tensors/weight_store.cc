#include "src/tensors/weight_store.h"

#include "src/core/error.h"
#include "src/tensors/at_dtype.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>
#include <vector>

namespace sparity::tensors {

namespace {

constexpr std::size_t kListedAtMost = 12;

/// "3 missing (a, b, c)"; long lists end with "and N more".
std::string listed(std::string_view what, const std::vector<std::string>& names) {
  const std::size_t shown = std::min(names.size(), kListedAtMost);
  std::string text =
      fmt::format("{} {} ({}", names.size(), what,
                  fmt::join(names.begin(), names.begin() + static_cast<long>(shown), ", "));
  if (shown < names.size()) {
    text += fmt::format(" and {} more", names.size() - shown);
  }
  return text + ")";
}

}  // namespace

WeightStore::WeightStore(const core::TensorManifest& manifest,
                         std::map<std::string, at::Tensor> tensors, const std::string& source)
    : tensors_(std::move(tensors)) {
  std::vector<std::string> missing;
  std::vector<std::string> left_over;
  std::vector<std::string> misshapen;
  for (const core::ParameterSpec& parameter : manifest.parameters()) {
    const auto found = tensors_.find(parameter.name);
    if (found == tensors_.end()) {
      missing.push_back(parameter.name);
    } else if (found->second.sizes().vec() != parameter.shape) {
      misshapen.push_back(fmt::format("{}: expected [{}], found [{}]", parameter.name,
                                      fmt::join(parameter.shape, ", "),
                                      fmt::join(found->second.sizes().vec(), ", ")));
    }
  }
  for (const auto& [name, tensor] : tensors_) {
    if (!manifest.contains(name)) {
      left_over.push_back(name);
    }
  }
  std::vector<std::string> complaints;
  if (!missing.empty()) {
    complaints.push_back(listed("missing", missing));
  }
  if (!left_over.empty()) {
    complaints.push_back(listed("not in the model", left_over));
  }
  if (!misshapen.empty()) {
    complaints.push_back(listed("of another shape", misshapen));
  }
  SPARITY_CHECK_INPUT(complaints.empty(), fmt::format("{}: tensors do not fit the config: {}",
                                                      source, fmt::join(complaints, "; ")));
}

const at::Tensor& WeightStore::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  SPARITY_CHECK(found != tensors_.end(), fmt::format("no parameter named '{}'", name));
  return found->second;
}

at::Tensor WeightStore::get(const std::string& name, at::ScalarType type) const {
  return at(name).to(type);
}

WeightStore WeightStore::rounded(const core::TensorManifest& manifest, core::Dtype activation,
                                 core::Recipe recipe) const {
  std::map<std::string, at::Tensor> converted;
  for (const core::ParameterSpec& parameter : manifest.parameters()) {
    const core::Dtype stored = core::stored_dtype(parameter, activation, recipe);
    converted.emplace(parameter.name, get(parameter.name, to_scalar_type(stored)));
  }
  return WeightStore(manifest, std::move(converted), "rounded weights");
}

WeightStore WeightStore::as_leaves(const core::TensorManifest& manifest) const {
  std::map<std::string, at::Tensor> leaves;
  for (const auto& [name, tensor] : tensors_) {
    const bool trained = manifest.at(name).role != core::ParameterRole::kRouterBias;
    leaves.emplace(name, tensor.detach().requires_grad_(trained));
  }
  return WeightStore(manifest, std::move(leaves), "leaves");
}

}  // namespace sparity::tensors
