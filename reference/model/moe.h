#pragma once

#include "reference/model/mlp.h"
#include "reference/model/router.h"
#include "src/core/model_config.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace sparity::reference::model {

/// A mixture-of-experts layer's weights.
struct MoeWeights {
  Linear gate_weight;               // [E, D]
  at::Tensor gate_bias;             // [E], e_score_correction_bias
  std::vector<MlpWeights> experts;  // E of width moe_intermediate_size
  MlpWeights shared_experts;        // one MLP of width n_shared_experts · moe_intermediate_size
};

/// Σ over the selected experts of weight · expert(x), expert by expert in ascending order. x [B, S,
/// D], indices I64 [B, S, K], weights [B, S, K] → [B, S, D], f32 or wider: each expert's output is
/// rounded to the activation dtype, products and sums are not (D-32). Nothing is dropped.
/// Spec 2.12.
at::Tensor routed_experts(const at::Tensor& x, const at::Tensor& indices, const at::Tensor& weights,
                          const std::vector<MlpWeights>& experts, core::Recipe recipe);

/// routed_experts(x) + shared_experts(x), x and result [B, S, D] in the activation dtype. Under
/// `official` the sum is f32 and rounded once; under `hf` the routed sum is rounded before the
/// shared experts are added (D-32; transformers' default grouped experts sum a token's slots in
/// f32). Names: gate.*, experts, shared_experts; the caller shows the result. `routing`, where not
/// null, receives which experts the tokens went to. Spec 2.12.
at::Tensor moe(const at::Tensor& x, const MoeWeights& weights, const core::ModelConfig& config,
               core::Recipe recipe, const tensors::Probe& probe, Routing* routing = nullptr);

}  // namespace sparity::reference::model
