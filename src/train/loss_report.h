#pragma once

#include "src/tensors/inputs.h"
#include "src/train/objective.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace sparity::train {

/// What losses are divided by, over one micro-batch or all of a step.
struct BatchCounts {
  std::int64_t labels = 0;     // that count in the LM loss
  std::int64_t rows = 0;       // that count in the KL loss
  std::int64_t positions = 0;  // B·S
  std::int64_t sequences = 0;  // B
  std::int64_t tokens = 0;     // padding not counted

  static BatchCounts of(const tensors::Inputs& inputs);
  static BatchCounts of(const std::vector<tensors::Inputs>& batches);
};

/// A micro-batch's share of a step: what its own means count for in the step's.
struct StepShare {
  double kl = 1;       // by what the reduction divides by
  double balance = 1;  // by rows

  StepShare(const core::Objective& objective, const BatchCounts& part, const BatchCounts& step);
};

/// What an objective came to over several micro-batches, as one batch.
struct LossReport {
  double total = 0;
  std::optional<double> lm;  // nothing where the stage has no such loss
  std::optional<double> kl;
  std::optional<double> balance;
  std::vector<double> kl_layers;  // Σ KL_t of every layer, not reduced

  void add(const ObjectiveValue& value, const core::Objective& objective, const StepShare& share);
};

/// [] what a micro-batch adds to the step's objective: lm + coefficient · share · kl + coefficient
/// · share · balance. With one micro-batch it is the value's own total, bit by bit.
at::Tensor share_of_total(const ObjectiveValue& value, const core::Objective& objective,
                          const StepShare& share);

}  // namespace sparity::train
