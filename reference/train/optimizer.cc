#include "reference/train/optimizer.h"

#include "src/core/error.h"
#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace sparity::reference::train {

AdamWState adamw_step(const AdamWState& state, const at::Tensor& gradient,
                      const core::AdamWOptions& options) {
  const at::NoGradGuard detached;
  const at::Tensor g = gradient.to(state.master.scalar_type());
  const double lr = options.learning_rate;
  AdamWState next;
  next.step = state.step + 1;
  const double correction1 = 1.0 - std::pow(options.beta1, static_cast<double>(next.step));
  const double correction2 = 1.0 - std::pow(options.beta2, static_cast<double>(next.step));
  next.m = state.m * options.beta1 + g * (1.0 - options.beta1);
  next.v = state.v * options.beta2 + g * g * (1.0 - options.beta2);
  const at::Tensor denominator = next.v.sqrt() / std::sqrt(correction2) + options.eps;
  const at::Tensor decayed = state.master * (1.0 - lr * options.weight_decay);
  next.master = decayed - next.m / denominator * (lr / correction1);
  return next;
}

AdamW::AdamW(const NamedTensors& parameters, const core::AdamWOptions& options,
             std::set<std::string> undecayed)
    : options_(options), undecayed_(std::move(undecayed)) {
  for (const auto& [name, parameter] : parameters) {
    const at::ScalarType wide = tensors::at_least_f32(parameter.scalar_type());
    const at::Tensor master = parameter.detach().to(wide).clone();
    dtypes_.emplace(name, parameter.scalar_type());
    states_.emplace(
        name,
        AdamWState{.master = master, .m = at::zeros_like(master), .v = at::zeros_like(master)});
  }
}

void AdamW::step(const NamedTensors& gradients, double learning_rate) {
  for (const auto& [name, gradient] : gradients) {
    const auto state = states_.find(name);
    SPARITY_CHECK(state != states_.end(), fmt::format("{}: a gradient of no parameter", name));
    core::AdamWOptions options = options_;
    options.learning_rate = learning_rate;
    if (undecayed_.contains(name)) {
      options.weight_decay = 0.0;
    }
    state->second = adamw_step(state->second, gradient, options);
  }
}

void AdamW::restore(std::map<std::string, AdamWState> states) {
  SPARITY_CHECK(states.size() == states_.size(), "optimizer states of other parameters");
  for (auto& [name, state] : states) {
    const auto own = states_.find(name);
    SPARITY_CHECK(own != states_.end(), fmt::format("{}: the state of no parameter", name));
    const at::ScalarType wide = own->second.master.scalar_type();
    own->second = {.master = state.master.to(wide),
                   .m = state.m.to(wide),
                   .v = state.v.to(wide),
                   .step = state.step};
  }
}

NamedTensors AdamW::parameters() const {
  NamedTensors parameters;
  for (const auto& [name, state] : states_) {
    parameters.emplace(name, state.master.to(dtypes_.at(name)));
  }
  return parameters;
}

double gradient_norm(const NamedTensors& gradients, const std::set<std::string>& group) {
  double squares = 0.0;
  for (const auto& [name, gradient] : gradients) {
    if (group.contains(name)) {
      squares += gradient.to(at::kDouble).square().sum().item<double>();
    }
  }
  return std::sqrt(squares);
}

double clip_gradients(NamedTensors& gradients, const std::set<std::string>& group,
                      double max_norm) {
  SPARITY_CHECK_INPUT(max_norm > 0.0,
                      fmt::format("max_norm: expected more than 0, found {}", max_norm));
  const double norm = gradient_norm(gradients, group);
  const double coefficient = std::min(max_norm / (norm + 1e-6), 1.0);
  for (auto& [name, gradient] : gradients) {
    if (group.contains(name)) {
      gradient = gradient * coefficient;
    }
  }
  return norm;
}

double scheduled_rate(double peak, const core::ScheduleOptions& schedule, std::int64_t n) {
  const auto step = static_cast<double>(n);
  const auto warmup = static_cast<double>(schedule.warmup_steps);
  const auto total = static_cast<double>(schedule.total_steps);
  if (n < schedule.warmup_steps) {
    return peak * (step + 1.0) / warmup;
  }
  if (schedule.kind == core::ScheduleKind::kConstant) {
    return peak;
  }
  const double x = n < schedule.total_steps ? (step - warmup) / (total - warmup) : 1.0;
  const double least = schedule.least_fraction;
  return peak * (least + (1.0 - least) * (1.0 + std::cos(std::numbers::pi * x)) / 2.0);
}

}  // namespace sparity::reference::train
