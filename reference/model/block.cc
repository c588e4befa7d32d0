#include "reference/model/block.h"

#include "reference/model/norm.h"
#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/alias.h>

#include <string>

namespace sparity::reference::model {
namespace {

at::Tensor feed_forward(const at::Tensor& x, const LayerWeights& weights, const ForwardPass& pass,
                        const tensors::Probe& probe, Routing* routing) {
  if (const auto* dense = std::get_if<MlpWeights>(&weights.mlp)) {
    return mlp(x, *dense, pass.recipe);
  }
  return moe(x, std::get<MoeWeights>(weights.mlp), pass.config, pass.recipe, probe, routing);
}

}  // namespace

at::Tensor residual_stream(const LayerState& state) {
  if (!state.residual.defined()) {
    return state.hidden;
  }
  const at::ScalarType wide = tensors::at_least_f32(state.hidden.scalar_type());
  return (state.residual.to(wide) + state.hidden.to(wide)).to(state.hidden.scalar_type());
}

LayerState block(const LayerState& state, const LayerWeights& weights, std::int64_t index,
                 const ForwardPass& pass, const tensors::Probe& probe) {
  const tensors::Probe layer = probe.layer(index);
  const double eps = pass.config.rms_norm_eps;
  TrainingRecord* training = pass.options.record;
  LayerRecord* record = training == nullptr ? nullptr : &training->layers[index];
  const Normed before =
      add_rms_norm(state.hidden, state.residual, weights.input_layernorm, eps, pass.recipe);
  const at::Tensor attention_input = layer("input_layernorm", before.normed);
  const at::Tensor attention = layer(
      "self_attn",
      self_attention(attention_input, weights.self_attn, pass, layer.scope("self_attn"),
                     training != nullptr && training->indexer.has_value() ? record : nullptr));
  const Normed between =
      add_rms_norm(attention, before.residual, weights.post_attention_layernorm, eps, pass.recipe);
  const at::Tensor mlp_input = layer("post_attention_layernorm", between.normed);
  // A handle of its own: what reaches it is the stream's gradient, without the norm's share.
  const LayerState after = {
      layer("mlp", feed_forward(mlp_input, weights, pass, layer.scope("mlp"),
                                record == nullptr ? nullptr : &record->routing)),
      at::alias(between.residual)};

  const at::Tensor stream = residual_stream(after);
  const std::string name = "layers." + std::to_string(index);
  const at::Tensor shown = probe(name, stream);
  if (!shown.is_same(stream)) {
    return {shown, at::Tensor()};
  }
  probe.sum_gradient(name, {after.hidden, after.residual});
  return after;
}

}  // namespace sparity::reference::model
