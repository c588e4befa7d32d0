#pragma once

#include "src/core/forward_options.h"
#include "src/core/model_config.h"
#include "src/core/objective.h"
#include "src/ops/key_mask.h"
#include "src/ops/rope.h"
#include "src/tensors/adapter.h"

#include <ATen/core/Tensor.h>

#include <optional>

namespace sparity::model {

/// What every layer of one forward pass shares.
struct ForwardContext {
  core::ModelConfig config;
  core::AttentionMode attention = core::AttentionMode::kSparse;
  bool hadamard =
      false;  // rotate index queries and keys by the orthonormal Hadamard transform (D-10)
  ops::KeyMask mask;
  ops::RotaryTable table;
  core::Objective objective = {};                    // which losses the layers compute on the way
  std::optional<tensors::DropoutDraw> dropout = {};  // of adapters' inputs; none: nothing dropped
};

/// What a layer adds to the objective; undefined where it adds nothing.
struct LayerLosses {
  at::Tensor kl;       // [] Σ KL_t over the layer's rows, in f32(A)
  at::Tensor kl_rows;  // [B, S] KL_t, no gradient
  at::Tensor balance;  // [] the router's balance loss without its coefficient, in f32(A)
  at::Tensor load;     // I64 [E] tokens that each expert got
};

}  // namespace sparity::model
