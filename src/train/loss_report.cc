#include "src/train/loss_report.h"

#include "src/core/fault.h"
#include "src/ops/indexer_kl.h"
#include "src/ops/loss.h"

namespace sparity::train {

namespace {

using core::Fault;
using core::planted;

double ratio(std::int64_t part, std::int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

double kl_share(core::KlReduction reduction, const BatchCounts& part, const BatchCounts& step) {
  if (planted(Fault::kF91MicroBatchesWeighAlike)) {
    return ratio(part.sequences, step.sequences);
  }
  if (planted(Fault::kF97KlShareByRows) && reduction == core::KlReduction::kMeanPositionsLayers) {
    return ratio(part.rows, step.rows);
  }
  switch (reduction) {
    case core::KlReduction::kSum:
    case core::KlReduction::kNumItems:
      return 1;
    case core::KlReduction::kMeanRowsLayers:
    case core::KlReduction::kLayerSumOfRowMeans:
      return ratio(part.rows, step.rows);
    case core::KlReduction::kMeanPositionsLayers:
      return ratio(part.positions, step.positions);
  }
  return 1;
}

double value_of(const at::Tensor& scalar) { return scalar.item().toDouble(); }

void add_to(std::optional<double>& sum, double value) { sum = sum.value_or(0) + value; }

}  // namespace

BatchCounts BatchCounts::of(const tensors::Inputs& inputs) {
  BatchCounts counts;
  if (inputs.labels.defined()) {
    counts.labels = ops::counted_labels(inputs.labels, inputs.token_mask);
  }
  counts.rows = ops::counted_rows(ops::KeyMask(inputs));
  counts.positions = inputs.input_ids.numel();
  counts.sequences = inputs.input_ids.size(0);
  counts.tokens = inputs.token_mask.sum().item().toLong();
  return counts;
}

BatchCounts BatchCounts::of(const std::vector<tensors::Inputs>& batches) {
  BatchCounts sum;
  for (const tensors::Inputs& inputs : batches) {
    const BatchCounts part = of(inputs);
    sum.labels += part.labels;
    sum.rows += part.rows;
    sum.positions += part.positions;
    sum.sequences += part.sequences;
    sum.tokens += part.tokens;
  }
  return sum;
}

StepShare::StepShare(const core::Objective& objective, const BatchCounts& part,
                     const BatchCounts& step)
    : kl(objective.kl ? kl_share(objective.kl->reduction, part, step) : 1.0),
      balance(ratio(part.sequences, step.sequences)) {}

void LossReport::add(const ObjectiveValue& value, const core::Objective& objective,
                     const StepShare& share) {
  if (objective.lm) {
    add_to(lm, value_of(value.lm.loss));
    total += value_of(value.lm.loss);
  }
  if (objective.kl) {
    const double part = share.kl * value_of(value.kl);
    add_to(kl, part);
    total += objective.kl->coefficient * part;
    kl_layers.resize(value.layers.size());
    for (std::size_t layer = 0; layer < value.layers.size(); ++layer) {
      kl_layers[layer] += value_of(value.layers[layer].kl);
    }
  }
  if (objective.wants_balance()) {
    const double part = share.balance * value_of(value.balance);
    add_to(balance, part);
    total += objective.balance.coefficient * part;
  }
}

at::Tensor share_of_total(const ObjectiveValue& value, const core::Objective& objective,
                          const StepShare& share) {
  at::Tensor total;
  const auto add = [&](const at::Tensor& term, double factor) {
    const at::Tensor scaled = factor == 1.0 ? term : term.mul(factor);
    total = total.defined() ? total.add(scaled) : scaled;
  };
  if (objective.lm) {
    add(value.lm.loss, 1.0);
  }
  if (objective.kl) {
    const bool without = planted(Fault::kF89KlCoefficientNotInGradient);
    add(value.kl, (without ? 1.0 : objective.kl->coefficient) * share.kl);
  }
  if (objective.wants_balance()) {
    add(value.balance, objective.balance.coefficient * share.balance);
  }
  return total;
}

}  // namespace sparity::train
