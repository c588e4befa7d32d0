#pragma once

#include "reference/model/attention.h"
#include "reference/model/forward_pass.h"
#include "reference/model/moe.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <variant>

namespace sparity::reference::model {

/// One transformer layer's weights.
struct LayerWeights {
  at::Tensor input_layernorm;  // [D]
  AttentionWeights self_attn;
  at::Tensor post_attention_layernorm;  // [D]
  std::variant<MlpWeights, MoeWeights> mlp;
};

/// What one layer hands to the next: the output of its last branch, not yet added, and the stream
/// (rounded to the activation dtype) that it belongs to. Both [B, S, D]. Before the first layer
/// `hidden` is the embedding and `residual` undefined.
struct LayerState {
  at::Tensor hidden;
  at::Tensor residual;
};

/// The residual stream that a state stands for, residual + hidden rounded to the activation dtype.
at::Tensor residual_stream(const LayerState& state);

/// Pre-norm transformer layer number `index`:
///   (x, r) = add_norm(hidden, residual);  x = self_attention(x);
///   (x, r) = add_norm(x, r);              hidden = mlp(x);        residual = r.
/// Where the additions round is `add_rms_norm`'s affair (D-27). The stream after the layer is shown
/// to the probe as `layers.N`; a replacement becomes the next layer's `hidden` and starts the
/// stream anew. `probe` is the model's, not the layer's. Spec 2.13.
LayerState block(const LayerState& state, const LayerWeights& weights, std::int64_t index,
                 const ForwardPass& pass, const tensors::Probe& probe);

}  // namespace sparity::reference::model
