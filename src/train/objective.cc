#include "src/train/objective.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/indexer_kl.h"

namespace sparity::train {

namespace {

using core::Fault;
using core::planted;

/// What Σ over rows and layers is divided by.
double kl_divisor(const core::Objective& objective, std::int64_t layers, std::int64_t rows,
                  std::int64_t positions, std::int64_t sequences) {
  const auto count = [](std::int64_t n) { return static_cast<double>(n); };
  if (planted(Fault::kF15MeanOverPaddedRows)) {
    rows = positions;
  }
  if (planted(Fault::kF16MeanOverSequences)) {
    rows = sequences;
  }
  switch (objective.kl->reduction) {
    case core::KlReduction::kSum:
      return 1;
    case core::KlReduction::kMeanRowsLayers:
      return count(layers) * count(rows);
    case core::KlReduction::kMeanPositionsLayers:
      return count(layers) * count(positions);
    case core::KlReduction::kNumItems:
      SPARITY_CHECK_INPUT(objective.num_items > 0,
                          "kl_reduction num_items: expected a number of items, found none");
      return count(layers) * count(objective.num_items);
    case core::KlReduction::kLayerSumOfRowMeans:
      return count(rows);
  }
  return 1;
}

/// Adds `value` · `coefficient` to what may still be undefined.
void add_term(at::Tensor& total, const at::Tensor& value, double coefficient) {
  const at::Tensor term = coefficient == 1.0 ? value : value.mul(coefficient);
  total = total.defined() ? total.add(term) : term;
}

}  // namespace

at::Tensor reduce_kl(const std::vector<model::LayerLosses>& layers,
                     const core::Objective& objective, std::int64_t rows, std::int64_t positions,
                     std::int64_t sequences) {
  at::Tensor sum;
  for (const model::LayerLosses& layer : layers) {
    sum = sum.defined() ? sum.add(layer.kl) : layer.kl;
  }
  return sum.div(kl_divisor(objective, std::ssize(layers), rows, positions, sequences));
}

ObjectiveValue evaluate(const model::Model& model, const tensors::Inputs& inputs,
                        const model::ForwardOptions& options, const tensors::Probe& probe) {
  const core::Objective& objective = options.objective;
  SPARITY_CHECK_INPUT(objective.lm || objective.kl || objective.wants_balance(),
                      "objective: expected a loss to minimise, found none");
  model::ForwardResult forward = model.run(inputs, options, probe);
  ObjectiveValue value;
  value.logits = forward.logits;
  value.layers = std::move(forward.losses);
  if (objective.lm) {
    value.lm = ops::lm_loss(value.logits, inputs.labels, inputs.token_mask, objective.num_items);
    add_term(value.total, value.lm.loss, 1.0);
  }
  if (objective.kl) {
    value.kl_rows = ops::counted_rows(ops::KeyMask(inputs));
    SPARITY_CHECK_INPUT(value.kl_rows > 0,
                        "'attention_mask': expected a token for the KL loss, found padding only");
    value.kl = reduce_kl(value.layers, objective, value.kl_rows, inputs.input_ids.numel(),
                         inputs.input_ids.size(0));
    add_term(value.total, value.kl, objective.kl->coefficient);
  }
  if (objective.wants_balance()) {
    for (const model::LayerLosses& layer : value.layers) {
      if (layer.balance.defined()) {
        add_term(value.balance, layer.balance, 1.0);
      }
    }
    SPARITY_CHECK_INPUT(value.balance.defined(),
                        "balance loss: expected a layer with experts, found dense layers only");
    add_term(value.total, value.balance, objective.balance.coefficient);
  }
  return value;
}

}  // namespace sparity::train
