#include "suites/cases/bound_model.h"

#include "reference/model/loss.h"
#include "reference/model/mask.h"
#include "reference/model/model.h"
#include "src/core/error.h"
#include "src/model/model.h"
#include "src/ops/loss.h"
#include "src/tensors/at_dtype.h"

#include <utility>
#include <variant>

namespace sparity::cases {

namespace {

namespace reference = sparity::reference::model;

template <typename State>
StreamState as_stream(const State& state) {
  return {state.hidden, state.residual};
}

template <typename State>
State in_dtype(const StreamState& state, at::ScalarType type) {
  return State{state.hidden.to(type),
               state.residual.defined() ? state.residual.to(type) : at::Tensor()};
}

reference::ReferenceModel bind_reference(const tensors::Checkpoint& checkpoint, core::Dtype stored,
                                         at::ScalarType compute, core::Recipe recipe) {
  return reference::ReferenceModel::bind(
      checkpoint.weights.rounded(checkpoint.manifest, stored, recipe), checkpoint.config, compute,
      recipe);
}

}  // namespace

struct BoundModel::Side {
  std::variant<model::Model, reference::ReferenceModel> implementation;
};

BoundModel BoundModel::candidate(const tensors::Checkpoint& checkpoint, core::Dtype dtype,
                                 core::Recipe recipe) {
  SPARITY_CHECK_INPUT(recipe == core::Recipe::kOfficial || dtype != core::Dtype::kBF16,
                      "--recipe: the implementation `src` rounds bfloat16 as the official recipe "
                      "does; expected official, found hf");
  return BoundModel(std::make_shared<Side>(Side{model::Model(
      checkpoint.config, checkpoint.weights.rounded(checkpoint.manifest, dtype, recipe))}));
}

BoundModel BoundModel::baseline(const tensors::Checkpoint& checkpoint, core::Dtype dtype,
                                core::Recipe recipe) {
  return BoundModel(std::make_shared<Side>(
      Side{bind_reference(checkpoint, dtype, tensors::to_scalar_type(dtype), recipe)}));
}

BoundModel BoundModel::truth(const tensors::Checkpoint& checkpoint, core::Dtype dtype,
                             core::Recipe recipe) {
  return BoundModel(
      std::make_shared<Side>(Side{bind_reference(checkpoint, dtype, at::kDouble, recipe)}));
}

at::ScalarType BoundModel::activation() const {
  const auto* candidate = std::get_if<model::Model>(&side_->implementation);
  return candidate != nullptr ? candidate->activation()
                              : std::get<reference::ReferenceModel>(side_->implementation).compute;
}

at::Tensor BoundModel::forward(const tensors::Inputs& inputs, core::AttentionMode attention,
                               const tensors::Probe& probe) const {
  if (const auto* candidate = std::get_if<model::Model>(&side_->implementation)) {
    return candidate->forward(inputs, {.attention = attention}, probe);
  }
  return reference::forward(std::get<reference::ReferenceModel>(side_->implementation), inputs,
                            {.attention = attention}, probe);
}

StreamState BoundModel::layer_forward(std::int64_t index, const StreamState& state,
                                      const tensors::Inputs& inputs, core::AttentionMode attention,
                                      const tensors::Probe& probe) const {
  if (const auto* candidate = std::get_if<model::Model>(&side_->implementation)) {
    return as_stream(candidate->layer_forward(index,
                                              in_dtype<model::LayerState>(state, activation()),
                                              inputs, {.attention = attention}, probe));
  }
  const auto& model = std::get<reference::ReferenceModel>(side_->implementation);
  const reference::RotaryTable table =
      reference::rotary_table(model.config, inputs.position_ids, model.compute, model.recipe);
  return as_stream(reference::layer_forward(
      model, index, in_dtype<reference::LayerState>(state, activation()),
      reference::valid_pairs(inputs), table, {.attention = attention}, probe));
}

LossValue candidate_loss(const at::Tensor& logits, const tensors::Inputs& inputs) {
  const ops::LmLoss loss = ops::lm_loss(logits, inputs.labels, inputs.token_mask);
  return {loss.loss, loss.counted, loss.ignored};
}

LossValue reference_loss(const at::Tensor& logits, const tensors::Inputs& inputs) {
  const reference::LmLoss loss = reference::lm_loss(logits, inputs.labels, inputs.token_mask);
  return {loss.loss, loss.counted, loss.ignored};
}

}  // namespace sparity::cases
