#include "reference/model/gradients.h"

#include "reference/model/assemble.h"
#include "src/core/tensor_manifest.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

namespace sparity::reference::model {
namespace {

/// A model whose parameters gather gradients. Storage is shared with the original.
class Leaves {
 public:
  explicit Leaves(const ReferenceModel& model) : manifest_(model.config) {
    for (const auto& [name, tensor] : model.parameters) {
      const bool trained = manifest_.at(name).role != core::ParameterRole::kRouterBias;
      leaves_.emplace(name, tensor.detach().requires_grad_(trained));
    }
    model_ = assemble(model.config, model.compute, model.recipe,
                      [&](const std::string& name) { return leaves_.at(name); });
  }

  const ReferenceModel& model() const { return model_; }

  std::map<std::string, at::Tensor> gradients() const {
    std::map<std::string, at::Tensor> gradients;
    for (const auto& [name, leaf] : leaves_) {
      if (leaf.grad().defined()) {
        gradients.emplace(name, leaf.grad());
      } else if (manifest_.at(name).role == core::ParameterRole::kExpert) {
        gradients.emplace(name, at::zeros_like(leaf));  // no token came, so nothing was computed
      }
    }
    return gradients;
  }

 private:
  core::TensorManifest manifest_;
  std::map<std::string, at::Tensor> leaves_;
  ReferenceModel model_;
};

}  // namespace

Gradients lm_gradients(const ReferenceModel& model, const tensors::Inputs& inputs,
                       const ForwardOptions& options, const tensors::Probe& probe) {
  const at::AutoGradMode recording(true);
  const Leaves leaves(model);
  const at::Tensor logits = forward(leaves.model(), inputs, options, probe);
  LmLoss loss = lm_loss(logits, inputs.labels, inputs.token_mask);
  loss.loss.backward();
  loss.loss = loss.loss.detach();
  return {logits.detach(), loss, leaves.gradients()};
}

Gradients gradients_of(const ReferenceModel& model, const at::Tensor& cotangent,
                       const tensors::Inputs& inputs, const ForwardOptions& options,
                       const tensors::Probe& probe) {
  const at::AutoGradMode recording(true);
  const Leaves leaves(model);
  const at::Tensor logits = forward(leaves.model(), inputs, options, probe);
  logits.backward(cotangent.to(logits.scalar_type()));
  return {logits.detach(), {}, leaves.gradients()};
}

}  // namespace sparity::reference::model
