#pragma once

#include "reference/train/training.h"
#include "suites/cases/trace.h"
#include "suites/stages/stage_rules.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace sparity::suites::stages {

/// The micro-batches of one step.
using MicroBatches = std::vector<tensors::Inputs>;

/// The stage's training plan, from its definition (spec 4.1): what is named so is trained so.
/// `options` give the numbers. `trainable` is what the reference's model has to train.
reference::train::TrainingPlan plan_of(const StageRule& rule, const train::TrainOptions& options,
                                       const std::map<std::string, at::Tensor>& trainable);

/// Where a trainer of the candidate's is: what its next step starts from. Shares no storage.
struct Standing {
  std::int64_t steps_done = 0;
  std::map<std::string, at::Tensor> weights;  // as the run's dtype stores them
  std::vector<tensors::Adapter> adapters;
  std::map<std::string, train::AdamWState> states;  // by trained tensor

  static Standing of(const train::Trainer& trainer);
  /// A parameter, or an adapter's tensor by its name in memory.
  const at::Tensor& at(const std::string& name) const;
};

/// The reference in training, in the suite's dtype or in float64, from the same bits.
reference::train::Training training_from(const cases::SuiteContext& context, at::ScalarType compute,
                                         const StageRule& rule, const train::TrainOptions& options,
                                         const Standing& standing);

/// What a trainer's next step passes through, seen from beside it.
struct Preview {
  std::vector<cases::Forced> choices;  // of keys and experts, by micro-batch
  train::LossReport loss;              // what the passes came to
  /// Least |<q, k>| / (|q| · |k|) of an index head over the pairs that the KL loss counts. Where it
  /// is within rounding of 0, the ReLU's slope is 0 on one side and 1 on another, and a gradient
  /// has a term more or less, which no rounding bounds. Not sought in bfloat16.
  double nearest_kink = 1;
};
Preview preview_of(const cases::SuiteContext& context, const train::Trainer& trainer,
                   const MicroBatches& batch);

/// A step of the reference under those choices. `cancellations`, where given, takes
/// `cases::kl_cancellation` of each layer's KL loss, the largest of the micro-batches, by what the
/// names of its indexer's parameters contain.
reference::train::StepResult step_under(reference::train::Training& training,
                                        const MicroBatches& batch,
                                        const std::vector<cases::Forced>& choices,
                                        std::map<std::string, double>* cancellations = nullptr);

}  // namespace sparity::suites::stages
