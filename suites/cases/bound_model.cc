#include "suites/cases/bound_model.h"

#include "reference/model/gradients.h"
#include "reference/model/loss.h"
#include "reference/model/mask.h"
#include "reference/model/model.h"
#include "reference/train/objective.h"
#include "src/core/error.h"
#include "src/model/model.h"
#include "src/ops/loss.h"
#include "src/tensors/at_dtype.h"
#include "src/train/objective.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>

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
                                         at::ScalarType compute, core::Recipe recipe,
                                         const Adapters& adapters) {
  return reference::ReferenceModel::bind(
      checkpoint.weights.rounded(checkpoint.manifest, stored, recipe), checkpoint.config, compute,
      recipe, adapters);
}

/// `src` over weights in the dtypes of a run.
struct Candidate {
  core::ModelConfig config;
  core::TensorManifest manifest;
  tensors::WeightStore weights;
  Adapters adapters;
  model::Model model;

  Candidate(const tensors::Checkpoint& checkpoint, core::Dtype dtype, core::Recipe recipe,
            const Adapters& on_it)
      : config(checkpoint.config),
        manifest(checkpoint.manifest),
        weights(checkpoint.weights.rounded(manifest, dtype, recipe)),
        adapters(in_wide(on_it, tensors::to_scalar_type(dtype), /*trained=*/false)),
        model(config, weights, tensors::pairs_of(adapters)) {}

  static Adapters in_wide(const Adapters& adapters, at::ScalarType activation, bool trained) {
    Adapters wide;
    for (const tensors::Adapter& adapter : adapters) {
      wide.push_back(tensors::as_leaves(adapter, tensors::at_least_f32(activation), trained));
    }
    return wide;
  }
};

/// The candidate as it gathers gradients: of its parameters, or of adapters where there are some.
struct CandidateLeaves {
  tensors::WeightStore weights;
  Adapters adapters;
  model::Model model;

  explicit CandidateLeaves(const Candidate& of)
      : weights(of.adapters.empty() ? of.weights.as_leaves(of.manifest) : of.weights),
        adapters(Candidate::in_wide(of.adapters, of.model.activation(), /*trained=*/true)),
        model(of.config, weights, tensors::pairs_of(adapters)) {}

  /// Gradients of the leaves that got one.
  std::map<std::string, at::Tensor> gradients() const {
    std::map<std::string, at::Tensor> found;
    const auto take = [&](const std::string& name, const at::Tensor& leaf) {
      if (leaf.grad().defined()) {
        found.emplace(name, leaf.grad());
      }
    };
    for (const auto& [name, leaf] : weights.tensors()) {
      take(name, leaf);
    }
    for (const tensors::Adapter& adapter : adapters) {
      for (const auto& [name, leaf] : adapter.tensors) {
        take(tensors::name_in_memory(name, adapter.name), leaf);
      }
    }
    return found;
  }
};

GradientRun candidate_backward(const Candidate& candidate, const tensors::Inputs& inputs,
                               const model::ForwardOptions& options, const tensors::Probe& probe,
                               const at::Tensor& cotangent) {
  const at::AutoGradMode with_gradients(true);
  const CandidateLeaves leaves(candidate);
  const at::Tensor logits = leaves.model.forward(inputs, options, probe);
  GradientRun run{logits.detach(), {}, {}};
  if (cotangent.defined()) {
    logits.backward(cotangent.to(logits.scalar_type()));
  } else {
    run.loss = candidate_loss(logits, inputs);
    run.loss.loss.backward();
    run.loss.loss = run.loss.loss.detach();
  }
  run.parameters = leaves.gradients();
  return run;
}

at::Tensor detached(const at::Tensor& value) { return value.defined() ? value.detach() : value; }

ObjectiveRun candidate_objective(const Candidate& candidate, const tensors::Inputs& inputs,
                                 const model::ForwardOptions& options, const tensors::Probe& probe,
                                 bool with_gradients) {
  const at::AutoGradMode recording(with_gradients);
  const CandidateLeaves leaves(candidate);
  const train::ObjectiveValue value = train::evaluate(leaves.model, inputs, options, probe);
  if (with_gradients) {
    value.total.backward();
  }
  ObjectiveRun run;
  run.logits = value.logits.detach();
  run.loss = value.total.detach();
  run.lm_loss = detached(value.lm.loss);
  run.kl_loss = detached(value.kl);
  run.labels_counted = value.lm.counted;
  run.labels_ignored = value.lm.ignored;
  run.kl_rows = value.kl_rows;
  if (value.balance.defined()) {
    run.balance_loss = value.balance.detach().mul(options.objective.balance.coefficient);
  }
  std::vector<at::Tensor> layer_sums;
  for (std::size_t layer = 0; layer < value.layers.size(); ++layer) {
    const model::LayerLosses& losses = value.layers[layer];
    if (losses.kl.defined()) {
      layer_sums.push_back(losses.kl.detach());
    }
    if (losses.load.defined()) {
      run.expert_loads.emplace(
          "model.layers." + std::to_string(layer) + ".mlp.gate.e_score_correction_bias",
          losses.load);
    }
  }
  if (!layer_sums.empty()) {
    run.kl_layer_sums = at::stack(layer_sums);
  }
  run.parameters = leaves.gradients();
  return run;
}

ObjectiveRun reference_objective(const reference::ReferenceModel& model,
                                 const tensors::Inputs& inputs,
                                 const reference::ForwardOptions& options,
                                 const core::Objective& objective, const tensors::Probe& probe) {
  const std::optional<std::int64_t> items =
      objective.num_items > 0 ? std::optional(objective.num_items) : std::nullopt;
  sparity::reference::train::Objective found =
      sparity::reference::train::objective(model, inputs, options,
                                           {.lm = objective.lm,
                                            .kl = objective.kl,
                                            .balance = objective.balance,
                                            .lm_items = items,
                                            .kl_items = items},
                                           probe);
  return {found.logits,
          found.loss,
          found.lm_loss,
          found.kl_loss,
          found.balance_loss,
          found.kl_layer_sums,
          found.labels_counted,
          found.labels_ignored,
          found.kl_rows,
          std::move(found.expert_loads),
          std::move(found.gradients)};
}

}  // namespace

struct BoundModel::Side {
  std::variant<Candidate, reference::ReferenceModel> implementation;
};

BoundModel BoundModel::candidate(const tensors::Checkpoint& checkpoint, core::Dtype dtype,
                                 core::Recipe recipe, const Adapters& adapters) {
  SPARITY_CHECK_INPUT(recipe == core::Recipe::kOfficial || dtype != core::Dtype::kBF16,
                      "--recipe: the implementation `src` rounds bfloat16 as the official recipe "
                      "does; expected official, found hf");
  return BoundModel(std::make_shared<Side>(Side{Candidate(checkpoint, dtype, recipe, adapters)}));
}

BoundModel BoundModel::baseline(const tensors::Checkpoint& checkpoint, core::Dtype dtype,
                                core::Recipe recipe, const Adapters& adapters) {
  return BoundModel(std::make_shared<Side>(
      Side{bind_reference(checkpoint, dtype, tensors::to_scalar_type(dtype), recipe, adapters)}));
}

BoundModel BoundModel::truth(const tensors::Checkpoint& checkpoint, core::Dtype dtype,
                             core::Recipe recipe, const Adapters& adapters) {
  return BoundModel(std::make_shared<Side>(
      Side{bind_reference(checkpoint, dtype, at::kDouble, recipe, adapters)}));
}

BoundModel BoundModel::drawn(int draws) const {
  BoundModel other = *this;
  other.draws_ = draws;
  return other;
}

BoundModel BoundModel::dropping(const tensors::DropoutDraw& draw) const {
  BoundModel other = *this;
  other.dropout_ = draw;
  return other;
}

at::ScalarType BoundModel::activation() const {
  const auto* candidate = std::get_if<Candidate>(&side_->implementation);
  return candidate != nullptr ? candidate->model.activation()
                              : std::get<reference::ReferenceModel>(side_->implementation).compute;
}

at::Tensor BoundModel::forward(const tensors::Inputs& inputs, core::AttentionMode attention,
                               const tensors::Probe& probe) const {
  if (const auto* candidate = std::get_if<Candidate>(&side_->implementation)) {
    return candidate->model.forward(inputs, {.attention = attention, .dropout = dropout_}, probe);
  }
  return reference::forward(std::get<reference::ReferenceModel>(side_->implementation), inputs,
                            {.attention = attention, .dropout = dropout_}, probe);
}

StreamState BoundModel::layer_forward(std::int64_t index, const StreamState& state,
                                      const tensors::Inputs& inputs, core::AttentionMode attention,
                                      const tensors::Probe& probe) const {
  if (const auto* candidate = std::get_if<Candidate>(&side_->implementation)) {
    return as_stream(
        candidate->model.layer_forward(index, in_dtype<model::LayerState>(state, activation()),
                                       inputs, {.attention = attention}, probe));
  }
  const auto& model = std::get<reference::ReferenceModel>(side_->implementation);
  const reference::RotaryTable table =
      reference::rotary_table(model.config, inputs.position_ids, model.compute, model.recipe);
  return as_stream(reference::layer_forward(
      model, index, in_dtype<reference::LayerState>(state, activation()),
      reference::valid_pairs(inputs), table, {.attention = attention}, probe));
}

GradientRun BoundModel::backward(const tensors::Inputs& inputs, core::AttentionMode attention,
                                 const tensors::Probe& probe, const at::Tensor& cotangent) const {
  if (const auto* candidate = std::get_if<Candidate>(&side_->implementation)) {
    return candidate_backward(*candidate, inputs, {.attention = attention, .dropout = dropout_},
                              probe, cotangent);
  }
  const auto& model = std::get<reference::ReferenceModel>(side_->implementation);
  const reference::ForwardOptions options{.attention = attention, .dropout = dropout_};
  reference::Gradients found =
      cotangent.defined() ? reference::gradients_of(model, cotangent, inputs, options, probe)
                          : reference::lm_gradients(model, inputs, options, probe);
  return {found.logits,
          {found.loss.loss, found.loss.counted, found.loss.ignored},
          std::move(found.parameters)};
}

ObjectiveRun BoundModel::objective(const tensors::Inputs& inputs, core::AttentionMode attention,
                                   const core::Objective& objective, const tensors::Probe& probe,
                                   bool with_gradients) const {
  if (const auto* candidate = std::get_if<Candidate>(&side_->implementation)) {
    return candidate_objective(
        *candidate, inputs, {.attention = attention, .objective = objective, .dropout = dropout_},
        probe, with_gradients);
  }
  // The reference knows its objective with gradients only.
  ObjectiveRun run =
      reference_objective(std::get<reference::ReferenceModel>(side_->implementation), inputs,
                          {.attention = attention, .dropout = dropout_}, objective, probe);
  if (!with_gradients) {
    run.parameters.clear();
  }
  return run;
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
