#pragma once

#include "src/model/mla.h"
#include "src/model/moe.h"
#include "src/ops/norm.h"

#include <ATen/core/Tensor.h>

#include <variant>
#include <vector>

namespace sparity::model {

/// What passes from layer to layer: the stream is `hidden` + `residual`, added by the next norm in
/// f32(A) (spec 2.13, D-27).
struct LayerState {
  at::Tensor hidden;    // [B, S, D] in A: the last branch's output, or the embedding
  at::Tensor residual;  // [B, S, D] in A; undefined before the first layer
};

/// The stream itself, rounded to A.
at::Tensor stream_of(const LayerState& state);

/// The norm of the stream, and the stream rounded to A.
ops::NormedResidual norm_stream(const LayerState& state, const at::Tensor& gain, double eps);

/// One decoder layer.
struct Block {
  at::Tensor input_layernorm;  // [D]
  Mla self_attn;
  at::Tensor post_attention_layernorm;  // [D]
  std::variant<ops::MlpWeights, Moe> mlp;

  static Block bind(const BoundWeights& weights, const core::ModelConfig& config,
                    std::int64_t layer);

  LayerState forward(const LayerState& state, const ForwardContext& context,
                     const tensors::Probe& probe, LayerLosses& losses) const;

  /// Everything that a gradient may reach: never the router's bias, and the indexer's parameters
  /// only when the objective has a KL loss. Weights and their adapters.
  std::vector<at::Tensor> differentiable(const core::Objective& objective) const;
};

}  // namespace sparity::model
