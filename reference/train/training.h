#pragma once

#include "reference/model/forward_pass.h"
#include "reference/model/model.h"
#include "reference/train/objective.h"
#include "reference/train/optimizer.h"
#include "src/core/optimizer_options.h"
#include "src/tensors/inputs.h"
#include "src/tensors/probe.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sparity::reference::train {

/// Parameters that share a learning rate.
struct TrainedGroup {
  std::string name;
  double peak_rate = 0.0;
  std::set<std::string> parameters;  // by the names of `model::trainable`
};

/// Over which gradients a norm is limited.
enum class ClipScope {
  kAll,    // those of all groups together
  kGroup,  // those of each group by itself
};

/// What every step of a run does.
struct TrainingPlan {
  model::ForwardOptions forward;  // its `dropout` stays unset
  /// Where given, adapters' dropout is drawn by (this, step, number of the micro-batch).
  std::optional<std::uint64_t> dropout_seed = {};
  /// `lm_items` and `kl_items` stay unset: a step counts its own.
  ObjectiveOptions objective;
  std::vector<TrainedGroup> groups;  // what is in none is frozen
  core::AdamWOptions adamw;          // its rate is not used: groups have theirs
  core::ScheduleOptions schedule;
  std::set<std::string> undecayed;
  double max_norm = 0.0;  // 0: no clipping
  ClipScope clip_scope = ClipScope::kAll;
  double bias_update_rate = 0.0;  // of the routers' biases, by load; 0: they stay
};

/// What one step found before it changed anything. Losses are those of `Objective`, of the whole
/// step.
struct StepResult {
  double loss = 0.0;
  std::optional<double> lm;       // none where not wanted; so are the next two
  std::optional<double> kl;       // without its coefficient
  std::optional<double> balance;  // coefficient included
  NamedTensors gradients;         // of trained parameters, f32 or wider, before clipping
  std::map<std::string, double> group_norms;  // before clipping, by group
  double total_norm = 0.0;                    // of all groups together
  std::map<std::string, double> rates;        // that AdamW took, by group
};

/// A textbook training run: every step evaluates the objective of all of its micro-batches, adds up
/// gradients, clips, and lets AdamW move the parameters.
class Training {
 public:
  /// Keeps the model's tensors and never writes to them. Throws (exit code 6) for a group without a
  /// parameter, and for a parameter that is not the model's to train or that two groups have.
  Training(model::ReferenceModel model, TrainingPlan plan);

  /// Goes on after `steps_taken` steps with these states of every trained parameter, which the
  /// model already holds as they are rounded to its dtypes. Throws (exit code 6) for others.
  void restore(std::int64_t steps_taken, const std::map<std::string, AdamWState>& states);

  /// One step over micro-batches that count as one batch, at the rate of step 0, 1, …. `probes`,
  /// where given, watch or force one micro-batch each. Over the whole step
  ///   lm      = Σ of every counted label's cross entropy / their number,
  ///   kl      = Σ over layers and rows of KL_t / what the reduction names, counted over the step
  ///             (kNumItems: its labels),
  ///   balance = Σ over micro-batches of theirs · their share of the rows that hold a token, which
  ///             under BalanceScope::kSequence is the mean over the step's rows.
  /// Gradients arrive in their parameter's dtype and are added up in f32 or wider. A parameter
  /// that none arrives at stays as it is. With a `bias_update_rate`, each router's bias moves by
  /// the load of the whole step. Throws (exit code 5) as `objective` does. Spec 4.2, 4.6, 4.7.
  StepResult step(const std::vector<tensors::Inputs>& micro_batches,
                  const std::vector<tensors::Probe>& probes = {});

  const model::ReferenceModel& model() const { return model_; }
  /// AdamW's of a group, with masters and moments.
  const AdamW& optimizer(const std::string& group) const { return optimizers_.at(group); }
  std::int64_t steps_taken() const { return steps_; }

 private:
  model::ForwardOptions forward_options(std::size_t micro_batch) const;
  double clip(NamedTensors& gradients) const;
  void update(const NamedTensors& gradients, const StepResult& result,
              const std::map<std::string, at::Tensor>& loads);

  model::ReferenceModel model_;
  TrainingPlan plan_;
  std::map<std::string, AdamW> optimizers_;  // by group
  std::set<std::string> trained_;            // of all groups
  std::int64_t steps_ = 0;
};

}  // namespace sparity::reference::train
