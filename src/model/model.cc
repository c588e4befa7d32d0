#include "src/model/model.h"

#include "src/core/fault.h"
#include "src/core/profile_scope.h"
#include "src/model/layer_call.h"
#include "src/ops/linear.h"
#include "src/tensors/at_dtype.h"

namespace sparity::model {

Model::Model(const core::ModelConfig& config, const tensors::WeightStore& weights,
             const tensors::AdapterPairs& adapters)
    : config_(config),
      embed_tokens_(weights.at("model.embed_tokens.weight")),
      norm_(weights.at("model.norm.weight")),
      lm_head_(BoundWeights(weights, adapters).linear("lm_head.weight")) {
  const BoundWeights bound(weights, adapters);
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    layers_.push_back(Block::bind(bound, config, layer));
  }
}

std::shared_ptr<const ForwardContext> Model::context_for(const tensors::Inputs& inputs,
                                                         const ForwardOptions& options) const {
  const at::Tensor positions = core::planted(core::Fault::kF131PositionsFromMask)
                                   ? inputs.token_mask.cumsum(1).sub(1).clamp_min(0)
                                   : inputs.position_ids;
  return std::make_shared<ForwardContext>(ForwardContext{
      config_, options.attention, options.hadamard, ops::KeyMask(inputs),
      ops::rotary_table(config_, positions, activation()), options.objective, options.dropout});
}

ForwardResult Model::run(const tensors::Inputs& inputs, const ForwardOptions& options,
                         const tensors::Probe& probe) const {
  const std::shared_ptr<const ForwardContext> context = context_for(inputs, options);
  const at::Tensor embedded =
      core::profiled("embedding", [&] { return ops::embedding(inputs.input_ids, embed_tokens_); });
  LayerState state{probe("embed_tokens", embedded), {}};
  ForwardResult result;
  for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    const LayerCall call{layers_[static_cast<std::size_t>(layer)], layer, context};
    LayerLosses& losses = result.losses.emplace_back();
    state = options.recompute_layers ? run_recomputed(call, state, probe, losses)
                                     : call.run(state, probe, losses);
  }
  if (core::planted(core::Fault::kF62FinalNormWithoutResidual)) {
    state.residual.reset();
  }
  const ops::NormedResidual normed = norm_stream(state, norm_, config_.rms_norm_eps);
  const core::ProfileScope scope("head");
  result.logits =
      probe("logits", ops::wide_linear(probe("norm", normed.normed), lm_head_, options.dropout));
  return result;
}

LayerState Model::layer_forward(std::int64_t layer, const LayerState& state,
                                const tensors::Inputs& inputs, const ForwardOptions& options,
                                const tensors::Probe& probe) const {
  LayerLosses losses;
  return LayerCall{layers_[static_cast<std::size_t>(layer)], layer, context_for(inputs, options)}
      .run(state, probe, losses);
}

}  // namespace sparity::model
