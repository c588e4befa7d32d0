#pragma once

#include "src/model/model.h"
#include "src/ops/loss.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace sparity::train {

/// One forward pass and everything that its objective is made of. Undefined where not wanted.
struct ObjectiveValue {
  at::Tensor logits;   // [B, S, V]
  at::Tensor total;    // [], what is minimised: lm + coefficient · kl + coefficient · balance
  ops::LmLoss lm;      // its mean, or its sum over num_items
  at::Tensor kl;       // [], reduced, without its coefficient
  at::Tensor balance;  // [], summed over MoE layers, without its coefficient
  std::int64_t kl_rows = 0;  // rows that count in the KL loss
  std::vector<model::LayerLosses> layers;
};

/// Runs the model on `inputs` under `options.objective` (spec 4.2, 4.6, 4.7). Differentiable where
/// the model is. Throws (exit code 5) when the LM loss is wanted and no label counts, when a
/// reduction over items has no num_items, or when nothing at all is wanted.
ObjectiveValue evaluate(const model::Model& model, const tensors::Inputs& inputs,
                        const model::ForwardOptions& options, const tensors::Probe& probe = {});

/// The layers' Σ KL_t as one number (core::KlReduction). `rows` that count in each layer,
/// `positions` B·S, `sequences` B.
at::Tensor reduce_kl(const std::vector<model::LayerLosses>& layers,
                     const core::Objective& objective, std::int64_t rows, std::int64_t positions,
                     std::int64_t sequences);

}  // namespace sparity::train
