#pragma once

#include "reference/model/linear.h"
#include "src/core/forward_options.h"
#include "src/core/model_config.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

namespace sparity::reference::model {

/// Which experts each token goes to. Leading dimensions are those of the router's input.
struct Routing {
  at::Tensor scores;   // [..., E] sigmoid, unbiased, f32 or wider
  at::Tensor indices;  // I64 [..., K] by (biased score descending, index ascending)
  at::Tensor weights;  // [..., K], in the order of `indices`, f32 or wider
};

/// sigmoid(f32(x) · f32(W)ᵀ). x [..., D], weight [E, D] → [..., E], f32 or wider. Spec 2.11.
at::Tensor router_scores(const at::Tensor& x, const Linear& weight);

/// Scores plus bias choose: the `topk_group` groups with the largest sum of their two best experts,
/// then the K best experts among those groups (all others −inf). Ties go to the lower index. scores
/// [..., E], bias [E] → I64 [..., K]. No gradient. Spec 2.11; D-29, D-30.
at::Tensor select_experts(const at::Tensor& scores, const at::Tensor& bias,
                          const core::ModelConfig& config);

/// The unbiased scores of the selected experts, divided by their sum when `norm_topk_prob` (under
/// `hf` their sum + 1e-20, D-30), times `routed_scaling_factor`. scores [..., E], indices I64 [...,
/// K] →
/// [..., K]. Throws (exit code 5) for an index outside 0 … E−1: selections can come from a file.
/// Spec 2.11.
at::Tensor expert_weights(const at::Tensor& scores, const at::Tensor& indices,
                          const core::ModelConfig& config, core::Recipe recipe);

/// The three steps above, each shown to the probe (scores, topk_indices, topk_weights), so that
/// weights always belong to the selection that is in force.
Routing route(const at::Tensor& x, const Linear& weight, const at::Tensor& bias,
              const core::ModelConfig& config, core::Recipe recipe,
              const tensors::Probe& probe = {});

}  // namespace sparity::reference::model
