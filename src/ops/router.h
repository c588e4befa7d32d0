#pragma once

#include "src/core/model_config.h"
#include "src/ops/linear.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// Where each token goes.
struct Routing {
  at::Tensor indices;      // I64 [B, S, K], by (biased score descending, expert ascending)
  at::Tensor weights;      // f32(A) [B, S, K]
  at::Tensor scores = {};  // f32(A) [B, S, E], unbiased; the experts do not read them
};

/// sigmoid(f32(x) · f32(W)ᵀ): unbiased scores, f32(A) [B, S, E].
at::Tensor routing_scores(const at::Tensor& x, const LinearWeight& weight,
                          const std::optional<tensors::DropoutDraw>& draw = std::nullopt);

/// The noaux_tc choice (spec 2.11): choice = score + bias; a group's score is the sum of its two
/// best choices; of the topk_group best groups the num_experts_per_tok best experts. Equal scores
/// go to the lower index. scores [B, S, E], bias [E] → I64 [B, S, K].
at::Tensor select_experts(const at::Tensor& scores, const at::Tensor& bias,
                          const core::ModelConfig& config);

/// The unbiased scores at `indices`, divided by their sum when norm_topk_prob (no epsilon, D-30),
/// times routed_scaling_factor. `bias` only serves a planted fault.
at::Tensor routing_weights(const at::Tensor& scores, const at::Tensor& indices,
                           const at::Tensor& bias, const core::ModelConfig& config);

/// The three steps, through the probe as `scores`, `topk_indices` and `topk_weights`.
Routing route(const at::Tensor& x, const LinearWeight& weight, const at::Tensor& bias,
              const core::ModelConfig& config, const tensors::Probe& probe,
              const std::optional<tensors::DropoutDraw>& draw = std::nullopt);

}  // namespace sparity::ops
