#pragma once

#include "reference/model/block.h"
#include "reference/model/forward_pass.h"
#include "reference/model/linear.h"
#include "src/core/model_config.h"
#include "src/tensors/adapter.h"
#include "src/tensors/inputs.h"
#include "src/tensors/probe.h"
#include "src/tensors/weight_store.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace sparity::reference::model {

/// A whole model, bound to a dtype and to where it rounds: in float64 the truth, in the candidate's
/// dtype the honest baseline.
struct ReferenceModel {
  core::ModelConfig config;
  at::ScalarType compute = at::kDouble;  // the activation dtype
  core::Recipe recipe = core::Recipe::kOfficial;
  at::Tensor embed_tokens;  // [V, D]
  std::vector<LayerWeights> layers;
  at::Tensor norm;                               // [D]
  Linear lm_head;                                // [V, D]
  std::map<std::string, at::Tensor> parameters;  // all of the above by checkpoint name
  std::vector<tensors::Adapter> adapters;        // whose pairs the linear layers above add

  /// Takes every parameter of `config`'s manifest from `store`, each exactly once, in `compute` or,
  /// when that is bfloat16, in the dtype that the manifest keeps it in. `adapters` change its
  /// linear layers, their values in `compute`, f32 or wider. Throws (exit code 6) when a parameter
  /// or a pair stays unread or `compute` is not float64, float32 or bfloat16.
  static ReferenceModel bind(const tensors::WeightStore& store, const core::ModelConfig& config,
                             at::ScalarType compute, core::Recipe recipe,
                             std::vector<tensors::Adapter> adapters = {});
};

/// Layer `index` alone, for teacher forcing: `state` may come from anywhere, in the model's
/// activation dtype. `valid` is `valid_pairs` of the inputs, `table` their `rotary_table`.
LayerState layer_forward(const ReferenceModel& model, std::int64_t index, const LayerState& state,
                         const at::Tensor& valid, const RotaryTable& table,
                         const ForwardOptions& options, const tensors::Probe& probe);

/// Logits [B, S, V] of every token: f32(norm(h)) · f32(W)ᵀ, f32 or wider, under `official`; in the
/// activation dtype under `hf` (D-34). No output of a padded token means anything. Differentiable
/// in every parameter but the routers' biases, and in the adapters' tensors. Names as in
/// docs/naming.md, each shown once, in order of execution.
at::Tensor forward(const ReferenceModel& model, const tensors::Inputs& inputs,
                   const ForwardOptions& options = {}, const tensors::Probe& probe = {});

}  // namespace sparity::reference::model
