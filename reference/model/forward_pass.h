#pragma once

#include "reference/model/rope.h"
#include "src/core/forward_options.h"
#include "src/core/model_config.h"

#include <ATen/core/Tensor.h>

namespace sparity::reference::model {

/// What a caller may choose about a forward pass.
struct ForwardOptions {
  core::AttentionMode attention = core::AttentionMode::kSparse;
  /// Scores index queries and keys after a Hadamard transform; the same scores in exact arithmetic
  /// (D-10).
  bool hadamard = false;
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
