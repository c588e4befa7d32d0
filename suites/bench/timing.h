#pragma once

#include "reports/performance.h"
#include "src/core/forward_options.h"
#include "src/model/model.h"
#include "src/tensors/checkpoint.h"
#include "src/tensors/inputs.h"

#include <functional>
#include <string_view>
#include <vector>

namespace sparity::bench {

/// The candidate, bound to the weights of a run in one dtype, with leaves for their gradients.
class BenchedModel {
 public:
  BenchedModel(const tensors::Checkpoint& checkpoint, core::Dtype dtype);

  /// A forward pass that keeps nothing; with `backward` one that does, the LM loss and its
  /// backward, after which the gradients are dropped. `ended` is told "forward" when that is over,
  /// and "backward" while the gradients are still there.
  void pass(const tensors::Inputs& inputs, core::AttentionMode attention, bool backward,
            const std::function<void(std::string_view)>& ended = {}) const;

  core::Dtype dtype() const { return dtype_; }

 private:
  core::Dtype dtype_;
  tensors::WeightStore leaves_;
  model::Model model_;
};

/// What is timed, and how often.
struct BenchPlan {
  const tensors::Inputs& inputs;
  core::AttentionMode attention;
  int repeat;
};

/// Seconds of each of `repeat` passes, after one to warm up.
std::vector<double> pass_seconds(const BenchedModel& model, const BenchPlan& plan, bool backward);

/// Seconds and work by operation of the fastest of `repeat` passes, after one to warm up. Throws
/// (exit code 6) when an operation that has work to do did not run.
std::vector<reports::OpTime> op_times(const BenchedModel& model, const core::ModelConfig& config,
                                      const BenchPlan& plan, bool backward);

/// Bytes of tensors after loading, a forward pass that keeps nothing and, with `backward`, the two
/// halves of one with a backward; `open` makes the checkpoint.
std::vector<reports::MemoryPhase> memory_phases(const std::function<tensors::Checkpoint()>& open,
                                                core::Dtype dtype, const BenchPlan& plan,
                                                bool backward);

}  // namespace sparity::bench
