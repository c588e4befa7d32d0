#pragma once

#include "src/core/forward_options.h"
#include "src/core/model_config.h"
#include "src/model/block.h"
#include "src/tensors/adapter.h"
#include "src/tensors/inputs.h"
#include "src/tensors/probe.h"
#include "src/tensors/weight_store.h"

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

namespace sparity::model {

struct ForwardOptions {
  core::AttentionMode attention = core::AttentionMode::kSparse;
  bool hadamard = false;
  /// Gradient checkpointing: a layer keeps nothing but its input for the backward pass, which runs
  /// it again. The same bits, less memory.
  bool recompute_layers = false;
  /// Which losses the layers compute on the way; the LM loss is the caller's, from the logits.
  core::Objective objective = {};
  /// What adapters' dropout draws by, in training; without it nothing is dropped.
  std::optional<tensors::DropoutDraw> dropout = {};
};

/// What a forward pass leaves.
struct ForwardResult {
  at::Tensor logits;                // [B, S, V] in f32(A) (spec 2.4, D-34)
  std::vector<LayerLosses> losses;  // one a layer
};

/// DeepSeek-V3.2, differentiable when it is bound to leaves (`WeightStore::as_leaves`). Rounds as
/// the official recipe does.
class Model {
 public:
  /// `weights` must be rounded for the activation dtype (`WeightStore::rounded`); they are shared,
  /// not copied. `adapters` are in f32(A) (`tensors::pairs_of` adapters `as_leaves`).
  Model(const core::ModelConfig& config, const tensors::WeightStore& weights,
        const tensors::AdapterPairs& adapters = {});

  /// input_ids [B, S] → logits, and what the layers add to the objective.
  ForwardResult run(const tensors::Inputs& inputs, const ForwardOptions& options = {},
                    const tensors::Probe& probe = {}) const;

  /// The logits alone.
  at::Tensor forward(const tensors::Inputs& inputs, const ForwardOptions& options = {},
                     const tensors::Probe& probe = {}) const {
    return run(inputs, options, probe).logits;
  }

  /// One layer alone, on a given state.
  LayerState layer_forward(std::int64_t layer, const LayerState& state,
                           const tensors::Inputs& inputs, const ForwardOptions& options,
                           const tensors::Probe& probe) const;

  at::ScalarType activation() const { return embed_tokens_.scalar_type(); }

 private:
  std::shared_ptr<const ForwardContext> context_for(const tensors::Inputs& inputs,
                                                    const ForwardOptions& options) const;

  core::ModelConfig config_;
  at::Tensor embed_tokens_;  // [V, D]
  std::vector<Block> layers_;
  at::Tensor norm_;            // [D]
  ops::LinearWeight lm_head_;  // [V, D]
};

}  // namespace sparity::model
