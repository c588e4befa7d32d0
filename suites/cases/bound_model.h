#pragma once

#include "src/core/forward_options.h"
#include "src/core/objective.h"
#include "src/tensors/adapter.h"
#include "src/tensors/checkpoint.h"
#include "src/tensors/inputs.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sparity::cases {

/// What passes from layer to layer on either side: the stream is `hidden` + `residual`.
struct StreamState {
  at::Tensor hidden;    // [B, S, D]
  at::Tensor residual;  // [B, S, D]; undefined before the first layer
};

/// The mean cross entropy that each side computes from its own logits.
struct LossValue {
  at::Tensor loss;  // [], float32 or float64
  std::int64_t counted = 0;
  std::int64_t ignored = 0;
};

/// One forward and backward pass.
struct GradientRun {
  at::Tensor logits;                             // [B, S, V]
  LossValue loss;                                // its tensor undefined where a cotangent was given
  std::map<std::string, at::Tensor> parameters;  // by checkpoint name; absent where none arrives
};

/// One evaluation of a training objective, with its gradients. Undefined where not wanted.
struct ObjectiveRun {
  at::Tensor logits;         // [B, S, V]
  at::Tensor loss;           // [] lm + coefficient · kl + coefficient · balance
  at::Tensor lm_loss;        // []
  at::Tensor kl_loss;        // [] without its coefficient
  at::Tensor balance_loss;   // [] with its coefficient
  at::Tensor kl_layer_sums;  // [L] Σ KL_t of each layer
  std::int64_t labels_counted = 0;
  std::int64_t labels_ignored = 0;
  std::int64_t kl_rows = 0;
  std::map<std::string, at::Tensor> expert_loads;  // I64 [E] by the name of the router's bias
  std::map<std::string, at::Tensor> parameters;    // gradients, absent where none arrives
};

using Adapters = std::vector<tensors::Adapter>;

/// One side of a comparison: an implementation bound to a checkpoint's weights. With adapters, in
/// f32 or wider, the weights are frozen: gradients are those of the adapters' tensors, by
/// `tensors::name_in_memory`.
class BoundModel {
 public:
  /// `src`, activations in `dtype`, official recipe. The hf recipe is refused for bfloat16 (exit
  /// code 5): the candidate rounds in one way.
  static BoundModel candidate(const tensors::Checkpoint& checkpoint, core::Dtype dtype,
                              core::Recipe recipe, const Adapters& adapters = {});
  /// `reference`, activations in `dtype`.
  static BoundModel baseline(const tensors::Checkpoint& checkpoint, core::Dtype dtype,
                             core::Recipe recipe, const Adapters& adapters = {});
  /// `reference` in float64 over the weights as a run in `dtype` stores them.
  static BoundModel truth(const tensors::Checkpoint& checkpoint, core::Dtype dtype,
                          core::Recipe recipe, const Adapters& adapters = {});

  /// The same model, of whose traced runs `draws` more are made with other roundings each.
  BoundModel drawn(int draws) const;
  int draws() const { return draws_; }

  /// The same model in training, where adapters' inputs drop out by `draw`.
  BoundModel dropping(const tensors::DropoutDraw& draw) const;

  /// Logits [B, S, V].
  at::Tensor forward(const tensors::Inputs& inputs, core::AttentionMode attention,
                     const tensors::Probe& probe = {}) const;

  /// Layer `index` alone on `state`, which is converted to this side's activation dtype.
  StreamState layer_forward(std::int64_t index, const StreamState& state,
                            const tensors::Inputs& inputs, core::AttentionMode attention,
                            const tensors::Probe& probe = {}) const;

  /// Gradients of every parameter: of the LM loss, or of Σ logits · `cotangent` [B, S, V] where
  /// that is defined.
  GradientRun backward(const tensors::Inputs& inputs, core::AttentionMode attention,
                       const tensors::Probe& probe = {}, const at::Tensor& cotangent = {}) const;

  /// A training objective and, unless `with_gradients` is false, its gradient of every parameter.
  ObjectiveRun objective(const tensors::Inputs& inputs, core::AttentionMode attention,
                         const core::Objective& objective, const tensors::Probe& probe = {},
                         bool with_gradients = true) const;

  at::ScalarType activation() const;

 private:
  struct Side;
  explicit BoundModel(std::shared_ptr<const Side> side) : side_(std::move(side)) {}

  std::shared_ptr<const Side> side_;
  std::optional<tensors::DropoutDraw> dropout_;
  int draws_ = 0;
};

LossValue candidate_loss(const at::Tensor& logits, const tensors::Inputs& inputs);
LossValue reference_loss(const at::Tensor& logits, const tensors::Inputs& inputs);

}  // namespace sparity::cases
