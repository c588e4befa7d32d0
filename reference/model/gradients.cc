#include "reference/model/gradients.h"

#include "reference/model/leaves.h"

#include <ATen/core/grad_mode.h>

namespace sparity::reference::model {

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
