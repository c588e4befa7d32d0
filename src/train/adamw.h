#pragma once

#include "src/core/optimizer_options.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace sparity::train {

/// What AdamW remembers of one parameter.
struct AdamWState {
  at::Tensor master;      // f32(parameter): the parameter before it is rounded to its own dtype
  at::Tensor exp_avg;     // like the master
  at::Tensor exp_avg_sq;  // like the master
  std::int64_t step = 0;
};

/// AdamW as torch's single-tensor form computes it, step n = 1, 2, …, all in f32(parameter):
///   p ← p · (1 − lr·wd);  m ← m + (g − m)·(1 − β1);  v ← β2·v + (1 − β2)·g²
///   p ← p − lr/(1 − β1ⁿ) · m / (sqrt(v) / sqrt(1 − β2ⁿ) + eps)
/// in one pass over each parameter's memory. A bfloat16 parameter has a float32 master, which
/// starts from its value, and is rounded from it after every step.
class AdamW {
 public:
  /// `parameters` by name; their storage is written by `step`. Those in `without_decay` keep weight
  /// decay 0. Throws (exit code 5) when there is no parameter, or a name of `without_decay` is not
  /// among them.
  AdamW(std::map<std::string, at::Tensor> parameters, const core::AdamWOptions& options,
        std::set<std::string> without_decay = {});

  /// One step with the given rate and each parameter's gradient times `gradient_scale`. A parameter
  /// without a gradient is left alone, as torch leaves one whose grad is None. Throws (exit code 6)
  /// for a gradient of an unknown name or of another shape.
  void step(const std::map<std::string, at::Tensor>& gradients, double learning_rate,
            double gradient_scale = 1.0);

  const std::map<std::string, at::Tensor>& parameters() const { return parameters_; }
  const std::map<std::string, AdamWState>& state() const { return state_; }
  /// Goes on from a saved state: the same names, shapes and dtypes, else exit code 5.
  void restore(std::map<std::string, AdamWState> state);

 private:
  std::map<std::string, at::Tensor> parameters_;
  core::AdamWOptions options_;
  std::set<std::string> without_decay_;
  std::map<std::string, AdamWState> state_;
};

/// sqrt(Σ g²) over every gradient, in float64.
double global_norm(const std::map<std::string, at::Tensor>& gradients);

/// What torch's clip_grad_norm_ multiplies gradients by: min(1, largest / (norm + 1e-6)); NaN for a
/// norm that is not finite, so that no step hides one.
double clip_scale(double norm, double largest);

/// The learning rate of step n = 0, 1, … (core::ScheduleOptions).
double learning_rate_at(std::int64_t step, double peak, const core::ScheduleOptions& schedule);

}  // namespace sparity::train
