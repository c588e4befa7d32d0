#include "reference/train/objective.h"

#include "reference/model/leaves.h"
#include "reference/model/loss.h"
#include "reference/model/mask.h"
#include "reference/train/balance_loss.h"
#include "reference/train/indexer_loss.h"
#include "src/core/error.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <vector>

namespace sparity::reference::train {
namespace {

/// The losses of one forward pass, with their graphs.
class Losses {
 public:
  Losses(const model::ReferenceModel& model, const tensors::Inputs& inputs,
         const model::TrainingRecord& record, const ObjectiveOptions& options)
      : model_(model), inputs_(inputs), record_(record), options_(options) {}

  at::Tensor lm(const at::Tensor& logits, Objective& result) const {
    const model::LmSum sum = model::lm_loss_sum(logits, inputs_.labels, inputs_.token_mask);
    result.labels_counted = sum.counted;
    result.labels_ignored = sum.ignored;
    const std::int64_t items = options_.lm_items.value_or(sum.counted);
    SPARITY_CHECK_INPUT(items > 0, "labels: expected at least one label after a token, found none");
    return sum.sum / static_cast<double>(items);
  }

  at::Tensor kl(const tensors::Probe& probe, Objective& result) const {
    const at::Tensor valid = model::valid_pairs(inputs_);
    std::vector<at::Tensor> sums;
    for (const auto& [index, layer] : record_.layers) {
      sums.push_back(layer_kl(layer, {layer.support, valid},
                              probe.layer(index).scope("self_attn").scope("indexer")));
    }
    const at::Tensor layers = at::stack(sums);
    result.kl_layer_sums = layers.detach();
    result.kl_rows = counted_rows(valid);
    const KlCounts counts = {.layers = layers.size(0),
                             .rows = result.kl_rows,
                             .positions = inputs_.token_mask.numel(),
                             .items = options_.kl_items};
    return layers.sum() / kl_divisor(options_.kl->reduction, counts);
  }

  at::Tensor balance() const {
    std::vector<at::Tensor> layers;
    for (const auto& [index, layer] : record_.layers) {
      if (layer.routing.scores.defined()) {
        layers.push_back(balance_loss(layer.routing.scores, layer.routing.indices,
                                      inputs_.token_mask, options_.balance));
      }
    }
    SPARITY_CHECK_INPUT(!layers.empty(), "balance loss: expected a layer with experts, found none");
    return at::stack(layers).sum();
  }

 private:
  /// Σ_t KL_t of one layer.
  at::Tensor layer_kl(const model::LayerRecord& layer, const RowKeys& keys,
                      const tensors::Probe& probe) const {
    at::Tensor target = kl_target(layer.queries, layer.keys, model::softmax_scale(model_.config),
                                  keys, *options_.kl, model_.compute);
    if (probe.wants("kl_target")) {
      target = probe("kl_target", target);
    }
    return kl_rows(target, layer.index_scores, keys, *options_.kl, model_.compute).sum();
  }

  const model::ReferenceModel& model_;
  const tensors::Inputs& inputs_;
  const model::TrainingRecord& record_;
  const ObjectiveOptions& options_;
};

std::map<std::string, at::Tensor> expert_loads(const model::TrainingRecord& record,
                                               const at::Tensor& token_mask) {
  std::map<std::string, at::Tensor> loads;
  for (const auto& [index, layer] : record.layers) {
    if (layer.routing.scores.defined()) {
      loads.emplace(fmt::format("model.layers.{}.mlp.gate.e_score_correction_bias", index),
                    expert_load(layer.routing.indices, token_mask, layer.routing.scores.size(-1)));
    }
  }
  return loads;
}

}  // namespace

Objective objective(const model::ReferenceModel& model, const tensors::Inputs& inputs,
                    const model::ForwardOptions& forward, const ObjectiveOptions& options,
                    const tensors::Probe& probe) {
  const at::AutoGradMode recording(true);
  const model::Leaves leaves(model);
  model::TrainingRecord record;
  if (options.kl.has_value()) {
    record.indexer = options.kl->detach;
  }
  model::ForwardOptions recorded = forward;
  recorded.record = &record;
  const at::Tensor logits = model::forward(leaves.model(), inputs, recorded, probe);

  Objective result;
  result.logits = logits.detach();
  result.expert_loads = expert_loads(record, inputs.token_mask);
  const Losses losses(model, inputs, record, options);
  std::vector<at::Tensor> terms;
  if (options.lm) {
    terms.push_back(losses.lm(logits, result));
    result.lm_loss = terms.back().detach();
  }
  if (options.kl.has_value()) {
    const at::Tensor kl = losses.kl(probe, result);
    terms.push_back(kl * options.kl->coefficient);
    result.kl_loss = kl.detach();
  }
  if (options.balance.coefficient != 0.0) {
    terms.push_back(losses.balance());
    result.balance_loss = terms.back().detach();
  }
  SPARITY_CHECK_INPUT(!terms.empty(), "objective: expected at least one loss, found none");
  const at::Tensor loss = at::stack(terms).sum();
  SPARITY_CHECK_INPUT(loss.requires_grad(),
                      "objective: expected something trainable that it depends on, found none");
  loss.backward();
  result.loss = loss.detach();
  result.gradients = leaves.gradients();
  return result;
}

}  // namespace sparity::reference::train
