#include "src/model/model.h"

#include "src/core/fault.h"
#include "src/ops/linear.h"
#include "src/tensors/at_dtype.h"

namespace sparity::model {

Model::Model(const core::ModelConfig& config, const tensors::WeightStore& weights)
    : config_(config),
      embed_tokens_(weights.at("model.embed_tokens.weight")),
      norm_(weights.at("model.norm.weight")),
      lm_head_(weights.at("lm_head.weight")) {
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    layers_.push_back(Block::bind(weights, config, layer));
  }
}

ops::RotaryTable Model::table_for(const tensors::Inputs& inputs) const {
  return ops::rotary_table(config_, inputs.position_ids, activation());
}

LayerState Model::run_layer(std::int64_t layer, const LayerState& state,
                            const ForwardContext& context, const tensors::Probe& probe) const {
  const LayerState next =
      layers_[static_cast<std::size_t>(layer)].forward(state, context, probe.layer(layer));
  const std::string name = "layers." + std::to_string(layer);
  if (probe.wants(name)) {
    const at::Tensor stream = stream_of(next);
    const at::Tensor seen = probe(name, stream);
    if (!seen.is_same(stream)) {
      return {seen, {}};
    }
  }
  probe.sum_gradient(name, {next.hidden, next.residual});
  return next;
}

at::Tensor Model::forward(const tensors::Inputs& inputs, const ForwardOptions& options,
                          const tensors::Probe& probe) const {
  const ops::KeyMask mask(inputs);
  const ops::RotaryTable table = table_for(inputs);
  const ForwardContext context{config_, options.attention, options.hadamard, mask, table};
  LayerState state{probe("embed_tokens", ops::embedding(inputs.input_ids, embed_tokens_)), {}};
  for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    state = run_layer(layer, state, context, probe);
  }
  if (core::planted(core::Fault::kF62FinalNormWithoutResidual)) {
    state.residual.reset();
  }
  const ops::NormedResidual normed = norm_stream(state, norm_, config_.rms_norm_eps);
  return probe("logits", ops::wide_linear(probe("norm", normed.normed), lm_head_));
}

LayerState Model::layer_forward(std::int64_t layer, const LayerState& state,
                                const tensors::Inputs& inputs, const ForwardOptions& options,
                                const tensors::Probe& probe) const {
  const ops::KeyMask mask(inputs);
  const ops::RotaryTable table = table_for(inputs);
  const ForwardContext context{config_, options.attention, options.hadamard, mask, table};
  return run_layer(layer, state, context, probe);
}

}  // namespace sparity::model
