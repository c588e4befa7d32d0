#pragma once

#include "reference/model/loss.h"
#include "reference/model/model.h"
#include "src/tensors/inputs.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace sparity::reference::model {

/// One forward pass and its gradients.
struct Gradients {
  at::Tensor logits;  // [B, S, V]
  LmLoss loss;        // its tensor is undefined where a cotangent was given
  /// By the names of `trainable`, in the dtype that the model holds the tensor in. Absent where
  /// none arrives: the indexer, whose choices have no gradient, and the routers' biases. An expert
  /// without a token has a gradient, of zeros.
  std::map<std::string, at::Tensor> parameters;
};

/// Gradients of the LM loss with respect to everything trainable, by automatic differentiation of
/// the textbook form. In float64 they are never rounded on the way. The model is not changed.
/// Spec 4.6.
Gradients lm_gradients(const ReferenceModel& model, const tensors::Inputs& inputs,
                       const ForwardOptions& options = {}, const tensors::Probe& probe = {});

/// The same of Σ logits · cotangent, `cotangent` [B, S, V].
Gradients gradients_of(const ReferenceModel& model, const at::Tensor& cotangent,
                       const tensors::Inputs& inputs, const ForwardOptions& options = {},
                       const tensors::Probe& probe = {});

}  // namespace sparity::reference::model
