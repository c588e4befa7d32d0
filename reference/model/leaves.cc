#include "reference/model/leaves.h"

#include "reference/model/assemble.h"
#include "src/core/tensor_manifest.h"

#include <ATen/ops/zeros_like.h>

namespace sparity::reference::model {
namespace {

/// "model.layers.3.mlp" of a tensor of one of its experts.
std::string layer_of_expert(const std::string& name) {
  return name.substr(0, name.find(".experts."));
}

/// Names of the experts' parameters and of their adapters' tensors.
std::set<std::string> experts_of(const ReferenceModel& model) {
  std::set<std::string> names;
  const core::TensorManifest manifest(model.config);
  for (const core::ParameterSpec& spec : manifest.parameters()) {
    if (spec.role == core::ParameterRole::kExpert) {
      names.insert(spec.name);
    }
  }
  for (const tensors::Adapter& adapter : model.adapters) {
    for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
      if (tensor.role == core::ParameterRole::kExpert) {
        names.insert(tensors::name_in_memory(tensor.name, adapter.name));
      }
    }
  }
  return names;
}

}  // namespace

Leaves::Leaves(const ReferenceModel& model)
    : leaves_(trainable(model)), experts_(experts_of(model)) {
  for (auto& [name, leaf] : leaves_) {
    leaf = leaf.detach().requires_grad_();
  }
  model_ = with_values(model, leaves_);
}

std::map<std::string, at::Tensor> Leaves::gradients() const {
  std::map<std::string, at::Tensor> gradients;
  std::set<std::string> reached;  // layers whose experts have gradients
  for (const auto& [name, leaf] : leaves_) {
    if (leaf.grad().defined()) {
      gradients.emplace(name, leaf.grad());
      if (experts_.contains(name)) {
        reached.insert(layer_of_expert(name));
      }
    }
  }
  for (const auto& [name, leaf] : leaves_) {
    if (!leaf.grad().defined() && experts_.contains(name) &&
        reached.contains(layer_of_expert(name))) {
      gradients.emplace(name, at::zeros_like(leaf));
    }
  }
  return gradients;
}

}  // namespace sparity::reference::model
