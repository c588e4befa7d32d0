#include "reference/model/model.h"

#include "reference/model/assemble.h"
#include "reference/model/mask.h"
#include "reference/model/norm.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/index_select.h>

namespace sparity::reference::model {
namespace {

/// Rows of the table, not scaled. Spec 2.4.
at::Tensor embed(const ReferenceModel& model, const at::Tensor& input_ids) {
  const at::Tensor rows = at::index_select(model.embed_tokens, 0, input_ids.flatten());
  return rows.view({input_ids.size(0), input_ids.size(1), -1}).to(model.compute);
}

at::Tensor head(const ReferenceModel& model, const at::Tensor& normed) {
  const at::ScalarType type =
      model.recipe == core::Recipe::kHf ? model.compute : tensors::at_least_f32(model.compute);
  return linear(normed.to(type), model.lm_head.to(type));
}

/// The options of a model that has its draw already.
ForwardOptions without_dropout(ForwardOptions options) {
  options.dropout.reset();
  return options;
}

}  // namespace

LayerState layer_forward(const ReferenceModel& model, std::int64_t index, const LayerState& state,
                         const at::Tensor& valid, const RotaryTable& table,
                         const ForwardOptions& options, const tensors::Probe& probe) {
  if (options.dropout.has_value()) {
    return layer_forward(with_dropout(model, *options.dropout), index, state, valid, table,
                         without_dropout(options), probe);
  }
  const ForwardPass pass{model.config, model.recipe, options, valid, table};
  return block(state, model.layers.at(static_cast<std::size_t>(index)), index, pass, probe);
}

at::Tensor forward(const ReferenceModel& model, const tensors::Inputs& inputs,
                   const ForwardOptions& options, const tensors::Probe& probe) {
  if (options.dropout.has_value()) {
    return forward(with_dropout(model, *options.dropout), inputs, without_dropout(options), probe);
  }
  const at::Tensor valid = valid_pairs(inputs);
  const RotaryTable table =
      rotary_table(model.config, inputs.position_ids, model.compute, model.recipe);
  LayerState state = {probe("embed_tokens", embed(model, inputs.input_ids)), at::Tensor()};
  for (std::int64_t index = 0; index < model.config.num_hidden_layers; ++index) {
    state = layer_forward(model, index, state, valid, table, options, probe);
  }
  const Normed last = add_rms_norm(state.hidden, state.residual, model.norm,
                                   model.config.rms_norm_eps, model.recipe);
  return probe("logits", head(model, probe("norm", last.normed)));
}

}  // namespace sparity::reference::model
