#pragma once

#include "src/tensors/checkpoint.h"
#include "src/tensors/inputs.h"
#include "suites/cases/bound_model.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::cases {

/// What a suite process was asked for.
struct SuiteOptions {
  core::Dtype dtype = core::Dtype::kF32;
  core::Recipe recipe = core::Recipe::kOfficial;
  std::uint64_t seed = 1;
  std::string config_name;  // "tiny", or the checkpoint folder's name
  bool embedded = true;     // an embedded config on seeded inputs must exercise what it claims; a
                            // user's model or inputs only report it
  bool own_model = true;    // the weights are a config's and not from a checkpoint folder
  std::string rerun;        // the command line that repeats this suite, without --filter
};

/// Everything that the cases of one process share: a checkpoint, inputs, and both sides bound to
/// them.
class SuiteContext {
 public:
  SuiteContext(tensors::Checkpoint checkpoint, tensors::Inputs inputs, SuiteOptions options);

  /// The same weights, sides and options with other inputs: nothing is bound anew.
  SuiteContext with_inputs(tensors::Inputs inputs) const;
  /// The same weights with adapters on them, which take the gradients.
  SuiteContext with_adapters(Adapters adapters) const;
  /// The same in training, where adapters' inputs drop out by `draw` on every side alike.
  SuiteContext dropping(const tensors::DropoutDraw& draw) const;

  const core::ModelConfig& config() const { return checkpoint_.config; }
  const tensors::Checkpoint& checkpoint() const { return checkpoint_; }
  const tensors::Inputs& inputs() const { return inputs_; }
  const SuiteOptions& options() const { return options_; }
  /// The parameters as a run in this dtype stores them.
  const tensors::WeightStore& weights() const { return weights_; }
  at::ScalarType activation() const;

  const Adapters& adapters() const { return adapters_; }
  /// What gradients may reach, in checkpoint order: parameters, or the adapters' tensors by their
  /// names in memory, each in the role of what it is on.
  std::vector<core::ParameterSpec> differentiated() const;

  const BoundModel& candidate() const { return candidate_; }
  const BoundModel& baseline() const { return baseline_; }
  const BoundModel& truth() const { return truth_; }

  /// Standard normal numbers decided by (seed, name), rounded to the activation dtype.
  at::Tensor normal(std::string_view name, at::IntArrayRef shape) const;

  /// Layer numbers for cases about one part of the model: the first MoE layer, or −1.
  std::int64_t first_moe_layer() const;

  /// ν: how many different ids the real tokens have. Tokens with one id start from the same bits,
  /// so that their rounding errors are copies rather than samples.
  std::int64_t distinct_tokens() const;
  /// The same, and no more than the channels that hold the energy of the embedded tokens: a massive
  /// channel decides alone what the others are beside it.
  std::int64_t samples() const;

  /// K of the a-priori bounds: the sum of the lengths of every reduction that one layer chains.
  std::int64_t reduction_length() const;

 private:
  tensors::Checkpoint checkpoint_;
  tensors::Inputs inputs_;
  SuiteOptions options_;
  tensors::WeightStore weights_;
  Adapters adapters_;
  BoundModel candidate_;
  BoundModel baseline_;
  BoundModel truth_;
};

}  // namespace sparity::cases
