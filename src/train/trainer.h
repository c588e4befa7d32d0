#pragma once

#include "src/model/model.h"
#include "src/tensors/adapter.h"
#include "src/tensors/checkpoint.h"
#include "src/train/adamw.h"
#include "src/train/frozen.h"
#include "src/train/loss_report.h"
#include "src/train/train_options.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace sparity::train {

/// What a step did.
struct StepReport {
  std::int64_t step = 0;  // 1, 2, …
  LossReport loss;        // before the step
  double gradient_norm = 0;
  std::map<std::string, double> group_norms;       // by optimizer group
  std::map<std::string, double> learning_rates;    // by optimizer group
  std::int64_t tokens = 0;                         // padding not counted
  std::int64_t labels = 0;                         // that count in the LM loss
  std::vector<std::string> without_gradient = {};  // trained parameters that none reached
};

/// By parameter.
using Gradients = std::map<std::string, at::Tensor>;

/// What a stage may train: a parameter, or a tensor of an adapter on one.
struct Trainable {
  std::string name;  // of a parameter as in checkpoints, of an adapter's tensor as PEFT's in memory
  at::Tensor leaf;
  core::ParameterRole role;  // of the parameter
};

/// Parameters that one AdamW trains at one rate and under one clip.
struct OptimizerGroup {
  std::string name;  // "model" or "indexer"
  double learning_rate = 0;
  double clip = 0;  // 0: none
  AdamW optimizer;
};

/// A model in a stage of its training. Parameters that the stage does not train have
/// `requires_grad` off, are in no optimizer, and keep their bytes. With adapters, that is every
/// parameter: they train in place of the weights that they are on, in f32(A).
class Trainer {
 public:
  /// `options` must be settled. Writes into the checkpoint's storage where that has the run's
  /// dtype. Throws (exit code 5) when the stage does not train what an adapter is on, when
  /// `dual-lora` does not get one adapter that is on the model alone and one that is on the indexer
  /// alone, for adapters in `pretrain` or with a `bias_update_rate`, and for numbers that are not
  /// finite once they are rounded to the run's dtype.
  Trainer(tensors::Checkpoint checkpoint, const TrainOptions& options,
          const std::vector<tensors::Adapter>& adapters = {});

  /// One step over micro-batches, which count as one batch: the LM loss is divided by the step's
  /// labels, the KL loss by what its reduction names over the whole step, the balance loss is the
  /// mean over its rows (over the micro-batches, weighted by rows, with scope `batch`). Gradients
  /// are added up in f32(parameter), clipped, and given to AdamW; then the routers' biases move.
  /// Throws (exit code 4) and leaves every parameter as it was when a loss or a gradient is not
  /// finite, and (exit code 5) when no label of the step counts in a stage with the LM loss. Throws
  /// (exit code 4) too when a parameter, a master, a moment or a bias that the step has written is
  /// not finite: the step does not count as done, but the trainer holds what it wrote, and is no
  /// longer to be used.
  StepReport step(const std::vector<tensors::Inputs>& micro_batches);

  /// The stage's losses over all `batches` as one batch; no parameter changes. Throws (exit code 4)
  /// when they are not finite.
  LossReport validate(const std::vector<tensors::Inputs>& batches) const;

  std::int64_t steps_done() const { return steps_done_; }
  const TrainOptions& options() const { return options_; }
  const core::ModelConfig& config() const { return source_.config; }
  const std::vector<OptimizerGroup>& groups() const { return groups_; }
  /// Leaves, in the run's dtypes.
  const tensors::WeightStore& weights() const { return weights_; }
  /// Numbers that the stage trains, by gradient or by load.
  std::int64_t trained_count() const;

  /// Goes on after step `steps_done` with the optimizers' states, by parameter. Throws (exit code
  /// 5) unless they are exactly those of the trained parameters.
  void restore(std::int64_t steps_done, const std::map<std::string, AdamWState>& state);

  /// The model as files hold it: what was trained in the run's dtype, the rest as it was read.
  tensors::Checkpoint checkpoint() const;
  /// The adapters as they are now; empty where the stage trains the parameters themselves.
  const std::vector<tensors::Adapter>& adapters() const { return adapters_; }

  /// SHA-256 over the frozen parameters' bytes. Throws (exit code 6) when one has changed since
  /// the trainer was made.
  std::string check_frozen() const;

 private:
  /// Steps done, as dropout counts them.
  std::int64_t drawn_steps() const;
  bool updates_biases() const { return options_.bias_update_rate != 0.0; }
  bool is_trained(const core::ParameterSpec& parameter) const;
  std::vector<Trainable> trained() const;
  void make_groups();
  std::map<std::string, at::Tensor> frozen_tensors() const;
  void take_gradients(Gradients& sum) const;
  void optimize(const Gradients& gradients, StepReport& report);
  /// Adds the tokens that each expert got, by the name of its router's choice.
  void add_loads(const std::map<std::string, at::Tensor>& choices, const at::Tensor& token_mask,
                 std::map<std::string, at::Tensor>& loads) const;
  void update_biases(const std::map<std::string, at::Tensor>& loads);

  TrainOptions options_;
  tensors::Checkpoint source_;  // as read; shares storage with `weights_` where dtypes agree
  tensors::WeightStore weights_;
  std::vector<tensors::Adapter> adapters_;
  model::Model model_;
  std::vector<OptimizerGroup> groups_;
  FrozenBytes frozen_;
  std::int64_t steps_done_ = 0;
  std::int64_t resumed_at_ = 0;
};

}  // namespace sparity::train
