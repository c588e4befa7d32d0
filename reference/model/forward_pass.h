#pragma once

#include "reference/model/rope.h"
#include "reference/model/router.h"
#include "src/core/forward_options.h"
#include "src/core/model_config.h"
#include "src/core/objective.h"
#include "src/tensors/adapter.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>

namespace sparity::reference::model {

/// What one layer leaves for the losses of training, beside its output.
struct LayerRecord {
  at::Tensor index_scores;  // [B, S, T], −inf where masked; carries the indexer's gradient
  at::Tensor queries;       // [B, S, H, Dqk] of the layer's attention, detached
  at::Tensor keys;          // [B, T, H, Dqk] of the same, detached
  at::Tensor support;       // Bool [B, S, T]: what each query attended to
  Routing routing;          // of an MoE layer, its scores with their gradient; else undefined
};

/// Asks a forward pass to keep what the losses of training are made of, and takes it.
struct TrainingRecord {
  /// Where given, every layer runs its indexer, in dense mode too, on inputs that its loss passes
  /// through as far as this says, and leaves all that a `LayerRecord` holds; else its routing
  /// alone.
  std::optional<core::KlDetach> indexer;
  std::map<std::int64_t, LayerRecord> layers;  // by index
};

/// What a caller may choose about a forward pass.
struct ForwardOptions {
  core::AttentionMode attention = core::AttentionMode::kSparse;
  /// Scores index queries and keys after a Hadamard transform; the same scores in exact arithmetic
  /// (D-10).
  bool hadamard = false;
  /// Where given, this is a training pass, and adapters drop out of their inputs what it draws.
  std::optional<tensors::DropoutDraw> dropout = {};
  /// Where given, receives the records of all layers. What is computed beside them stays the same.
  TrainingRecord* record = nullptr;
};

/// What every layer of one forward pass has in common. Lives no longer than the call it is built
/// for.
struct ForwardPass {
  const core::ModelConfig& config;
  core::Recipe recipe;
  ForwardOptions options;
  const at::Tensor& valid;   // Bool [B, S, T]
  const RotaryTable& table;  // [B, S, Dr/2]
};

}  // namespace sparity::reference::model
