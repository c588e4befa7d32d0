#include "src/train/adamw.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/tensors/at_dtype.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace sparity::train {

namespace {

using core::Fault;
using core::planted;

constexpr std::int64_t kGrain = 1 << 14;

/// The numbers of one step, in the dtype of the arithmetic.
template <typename W>
struct StepNumbers {
  W decay;            // 1 − lr·wd
  W first;            // 1 − β1
  W second;           // β2
  W second_new;       // 1 − β2
  W root_correction;  // sqrt(1 − β2ⁿ)
  W eps;
  W rate;  // lr / (1 − β1ⁿ)
  W gradient_scale;
  W weight_decay;

  StepNumbers(const core::AdamWOptions& o, double learning_rate, double decay_rate, std::int64_t n,
              double scale) {
    const auto step = static_cast<double>(n) + (planted(Fault::kF88StepCountedLate) ? 1.0 : 0.0);
    const bool uncorrected = planted(Fault::kF53NoBiasCorrection);
    decay =
        static_cast<W>(planted(Fault::kF86DecayInGradient) ? 1.0 : 1 - learning_rate * decay_rate);
    weight_decay = static_cast<W>(decay_rate);
    first = static_cast<W>(1 - o.beta1);
    second = static_cast<W>(o.beta2);
    second_new = static_cast<W>(1 - o.beta2);
    root_correction = static_cast<W>(uncorrected ? 1.0 : std::sqrt(1 - std::pow(o.beta2, step)));
    eps = static_cast<W>(o.eps);
    rate =
        static_cast<W>(uncorrected ? learning_rate : learning_rate / (1 - std::pow(o.beta1, step)));
    gradient_scale = static_cast<W>(scale);
  }
};

template <typename W>
void update(const StepNumbers<W>& s, const W* gradient, std::int64_t count, W* parameter, W* m,
            W* v) {
  const bool coupled = planted(Fault::kF86DecayInGradient);
  const bool inside = planted(Fault::kF87EpsilonInsideRoot);
  at::parallel_for(0, count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      W g = gradient[i] * s.gradient_scale;
      if (coupled) {
        g += s.weight_decay * parameter[i];
      }
      m[i] += (g - m[i]) * s.first;
      v[i] = v[i] * s.second + s.second_new * g * g;
      const W denominator = inside ? std::sqrt(v[i] + s.eps) / s.root_correction
                                   : std::sqrt(v[i]) / s.root_correction + s.eps;
      parameter[i] = parameter[i] * s.decay - s.rate * (m[i] / denominator);
    }
  });
}

}  // namespace

AdamW::AdamW(std::map<std::string, at::Tensor> parameters, const core::AdamWOptions& options,
             std::set<std::string> without_decay)
    : parameters_(std::move(parameters)),
      options_(options),
      without_decay_(std::move(without_decay)) {
  SPARITY_CHECK_INPUT(!parameters_.empty(),
                      "optimizer: expected at least one parameter to train, found none");
  for (const std::string& name : without_decay_) {
    SPARITY_CHECK_INPUT(
        parameters_.contains(name),
        fmt::format("optimizer: '{}' is to have no decay, but is not trained", name));
  }
  for (const auto& [name, parameter] : parameters_) {
    const at::Tensor master =
        parameter.detach().to(tensors::at_least_f32(parameter.scalar_type()), false, /*copy=*/true);
    state_.emplace(
        name, AdamWState{master.contiguous(), at::zeros_like(master), at::zeros_like(master), 0});
  }
}

void AdamW::step(const std::map<std::string, at::Tensor>& gradients, double learning_rate,
                 double gradient_scale) {
  for (const auto& [name, arrived] : gradients) {
    const auto found = parameters_.find(name);
    SPARITY_CHECK(found != parameters_.end(),
                  "optimizer: a gradient of '" + name + "', which it does not train");
    AdamWState& state = state_.at(name);
    SPARITY_CHECK(arrived.sizes() == state.master.sizes(),
                  "optimizer: the gradient of '" + name + "' has another shape");
    ++state.step;
    const at::Tensor gradient = arrived.to(state.master.scalar_type()).contiguous();
    ops::dispatch_wide(state.master.scalar_type(), [&](auto tag) {
      using W = decltype(tag);
      const StepNumbers<W> numbers(options_, learning_rate,
                                   without_decay_.contains(name) ? 0.0 : options_.weight_decay,
                                   state.step, gradient_scale);
      update<W>(numbers, gradient.const_data_ptr<W>(), gradient.numel(),
                state.master.mutable_data_ptr<W>(), state.exp_avg.mutable_data_ptr<W>(),
                state.exp_avg_sq.mutable_data_ptr<W>());
    });
    found->second.detach().copy_(state.master);
  }
}

void AdamW::restore(std::map<std::string, AdamWState> state) {
  SPARITY_CHECK_INPUT(state.size() == state_.size(),
                      fmt::format("optimizer state: expected {} parameters, found {}",
                                  state_.size(), state.size()));
  for (const auto& [name, saved] : state) {
    const auto own = state_.find(name);
    SPARITY_CHECK_INPUT(own != state_.end(),
                        fmt::format("optimizer state: '{}' is not trained here", name));
    for (const at::Tensor& tensor : {saved.master, saved.exp_avg, saved.exp_avg_sq}) {
      SPARITY_CHECK_INPUT(tensor.sizes() == own->second.master.sizes() &&
                              tensor.scalar_type() == own->second.master.scalar_type(),
                          fmt::format("optimizer state: '{}': another shape or dtype than the "
                                      "parameter's",
                                      name));
    }
  }
  state_ = std::move(state);
  for (auto& [name, own] : state_) {
    own.step = planted(Fault::kF92StepCountLostOnResume) ? 0 : own.step;
  }
}

double global_norm(const std::map<std::string, at::Tensor>& gradients) {
  double sum = 0;
  for (const auto& [name, gradient] : gradients) {
    const double norm = gradient.norm(2, at::kDouble).item().toDouble();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

double clip_scale(double norm, double largest) {
  if (!std::isfinite(norm)) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  return std::min(1.0, largest / (norm + 1e-6));
}

double learning_rate_at(std::int64_t step, double peak, const core::ScheduleOptions& schedule) {
  if (step < schedule.warmup_steps) {
    return peak * static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps);
  }
  if (schedule.kind == core::ScheduleKind::kConstant) {
    return peak;
  }
  const double progress =
      step >= schedule.total_steps
          ? 1.0
          : static_cast<double>(step - schedule.warmup_steps) /
                static_cast<double>(schedule.total_steps - schedule.warmup_steps);
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return peak * (schedule.least_fraction + (1 - schedule.least_fraction) * cosine);
}

}  // namespace sparity::train
