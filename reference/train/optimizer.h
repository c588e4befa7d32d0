#pragma once

#include "src/core/optimizer_options.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace sparity::reference::train {

/// Parameters or gradients by checkpoint name.
using NamedTensors = std::map<std::string, at::Tensor>;

/// What AdamW keeps of one parameter, all in f32 or wider.
struct AdamWState {
  at::Tensor master;      // the parameter, unrounded
  at::Tensor m;           // exp_avg
  at::Tensor v;           // exp_avg_sq
  std::int64_t step = 0;  // steps taken with a gradient
};

/// Next state, in torch's single-tensor order:
///   p ← p · (1 − lr · wd);  m ← β1·m + (1 − β1)·g;  v ← β2·v + (1 − β2)·g²;
///   p ← p − lr / (1 − β1^step) · m / (√v / √(1 − β2^step) + eps).
/// The gradient is widened to the master's dtype. `options.learning_rate` is the step's.
AdamWState adamw_step(const AdamWState& state, const at::Tensor& gradient,
                      const core::AdamWOptions& options);

/// AdamW over a set of named parameters. A bfloat16 parameter has an f32 master, which starts from
/// the rounded value and is never rounded; the parameter is the master rounded.
class AdamW {
 public:
  /// Copies what it is given. `options.weight_decay` is for every parameter but `undecayed`.
  AdamW(const NamedTensors& parameters, const core::AdamWOptions& options,
        std::set<std::string> undecayed = {});

  /// Steps every parameter that has a gradient, at this rate in place of the options'; the others
  /// stay as they are, decay and step count included. A gradient of no parameter here throws (exit
  /// code 6).
  void step(const NamedTensors& gradients, double learning_rate);

  /// Goes on from other states, of the same names. Throws (exit code 6) for others.
  void restore(std::map<std::string, AdamWState> states);

  /// In the dtypes they came in.
  NamedTensors parameters() const;
  const std::map<std::string, AdamWState>& states() const { return states_; }

 private:
  core::AdamWOptions options_;
  std::set<std::string> undecayed_;
  std::map<std::string, at::ScalarType> dtypes_;
  std::map<std::string, AdamWState> states_;
};

/// √Σ g² over the gradients of `group` that are there; in f64 whatever their dtype.
double gradient_norm(const NamedTensors& gradients, const std::set<std::string>& group);

/// Clips a group as torch does: every gradient of it times min(1, max_norm / (norm + 1e-6)), in its
/// own dtype. Returns the norm before. The tensors that were there are not written to. A norm that
/// is not finite shows in the gradients as NaN or zeros; nothing is skipped. Throws (exit code 5)
/// unless max_norm > 0.
double clip_gradients(NamedTensors& gradients, const std::set<std::string>& group, double max_norm);

/// Rate of step n = 0, 1, … with `peak` at the top, as `core::ScheduleOptions` defines it.
double scheduled_rate(double peak, const core::ScheduleOptions& schedule, std::int64_t n);

}  // namespace sparity::reference::train
