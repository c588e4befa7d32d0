#pragma once

#include "src/core/model_config.h"
#include "src/model/bound_weights.h"
#include "src/model/forward_context.h"
#include "src/ops/mlp.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace sparity::model {

/// The MLP whose matrices are named `prefix` + "{gate,up,down}_proj.weight".
ops::MlpWeights bind_mlp(const BoundWeights& weights, const std::string& prefix);

/// A mixture of experts with its router and shared experts (spec 2.11, 2.12).
struct Moe {
  ops::LinearWeight gate_weight;         // [E, D]
  at::Tensor e_score_correction_bias;    // [E] float32
  std::vector<ops::MlpWeights> experts;  // E of width m
  ops::MlpWeights shared_experts;        // one of width n_shared_experts · m

  static Moe bind(const BoundWeights& weights, const std::string& prefix,
                  const core::ModelConfig& config);

  /// x [B, S, D] in A → [B, S, D] in A: the routed sum and the shared experts are added in f32(A).
  /// The balance loss and the experts' load go to `losses` when the objective has that loss.
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context,
                     const tensors::Probe& probe, LayerLosses& losses) const;
};

}  // namespace sparity::model
