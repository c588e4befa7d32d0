#pragma once

#include "reference/model/forward_pass.h"
#include "reference/model/model.h"
#include "src/core/objective.h"
#include "src/tensors/inputs.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace sparity::reference::train {

/// What is added up: loss = lm_loss + kl.coefficient · kl_loss + balance_loss, each where wanted.
struct ObjectiveOptions {
  bool lm = true;
  std::optional<core::KlOptions> kl = {};  // none: no KL loss
  core::BalanceOptions balance = {};       // coefficient 0: no balance loss
  /// Divisors of a batch that is cut into micro-batches, so that theirs add up to its loss: labels
  /// that count in all of it (none: those of these inputs), and the items of kNumItems.
  std::optional<std::int64_t> lm_items = {};
  std::optional<std::int64_t> kl_items = {};
};

/// One forward pass, its losses and their gradients. Tensors carry no graph.
struct Objective {
  at::Tensor logits;        // [B, S, V]
  at::Tensor loss;          // [], f32 or wider, as are the other losses
  at::Tensor lm_loss;       // undefined where not wanted; so are the next two
  at::Tensor kl_loss;       // without its coefficient
  at::Tensor balance_loss;  // summed over MoE layers, coefficient included

  std::int64_t labels_counted = 0;
  std::int64_t labels_ignored = 0;  // predicted from padding
  at::Tensor kl_layer_sums;         // [L]: Σ_t KL_t of each layer; undefined without a KL loss
  std::int64_t kl_rows = 0;         // rows that count, in each layer alike
  /// How many tokens chose each expert, I64 [E], by the name of the bias that answers to it.
  std::map<std::string, at::Tensor> expert_loads;

  /// By the names of `model::trainable`, so that of a model with adapters these are the adapters'
  /// alone, in the dtype that the model holds the tensor in. Absent where none arrives, as in
  /// `model::Leaves::gradients`.
  std::map<std::string, at::Tensor> gradients;
};

/// Runs the model on `inputs` and differentiates the loss automatically with respect to
/// everything trainable. The model is not changed; `forward.record` is not used. The target of each
/// layer is shown as layers.N.self_attn.indexer.kl_target where the probe wants it, after the pass;
/// what replaces it is what the loss takes. Throws (exit code 5) when nothing is wanted, nothing
/// depends on what is trainable (a balance loss without MoE layers), or a divisor is missing or
/// zero. Spec 4.2, 4.6, 4.7.
Objective objective(const model::ReferenceModel& model, const tensors::Inputs& inputs,
                    const model::ForwardOptions& forward, const ObjectiveOptions& options,
                    const tensors::Probe& probe = {});

}  // namespace sparity::reference::train
