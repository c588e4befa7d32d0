#include "reference/model/leaves.h"

#include "reference/model/assemble.h"

#include <ATen/ops/zeros_like.h>

#include <set>
#include <utility>

namespace sparity::reference::model {
namespace {

/// "model.layers.3.mlp" of one of its experts' parameters.
std::string layer_of_expert(const std::string& name) {
  return name.substr(0, name.find(".experts."));
}

}  // namespace

Leaves::Leaves(const ReferenceModel& model) : manifest_(model.config) {
  std::map<std::string, at::Tensor> leaves;
  for (const auto& [name, tensor] : model.parameters) {
    const bool trained = manifest_.at(name).role != core::ParameterRole::kRouterBias;
    leaves.emplace(name, tensor.detach().requires_grad_(trained));
  }
  model_ = with_parameters(model, std::move(leaves));
}

std::map<std::string, at::Tensor> Leaves::gradients() const {
  std::map<std::string, at::Tensor> gradients;
  std::set<std::string> reached;  // layers whose experts have gradients
  for (const auto& [name, leaf] : model_.parameters) {
    if (leaf.grad().defined()) {
      gradients.emplace(name, leaf.grad());
      if (manifest_.at(name).role == core::ParameterRole::kExpert) {
        reached.insert(layer_of_expert(name));
      }
    }
  }
  for (const auto& [name, leaf] : model_.parameters) {
    if (!leaf.grad().defined() && manifest_.at(name).role == core::ParameterRole::kExpert &&
        reached.contains(layer_of_expert(name))) {
      gradients.emplace(name, at::zeros_like(leaf));
    }
  }
  return gradients;
}

}  // namespace sparity::reference::model
