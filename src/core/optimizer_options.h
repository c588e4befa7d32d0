#pragma once

#include "src/core/objective.h"

#include <cstdint>

namespace sparity::core {

/// AdamW as torch defines it. Defaults are torch's.
struct AdamWOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;
};

/// The shape of a learning rate over steps.
enum class ScheduleKind {
  kConstant,  // "constant"
  kCosine,    // "cosine": peak · (l + (1 − l) · (1 + cos πx) / 2), l = `least_fraction`
};

/// Learning rate of step n = 0, 1, …: a linear rise over `warmup_steps`, (n + 1) / warmup_steps of
/// the peak, then the kind's shape in x = (n − warmup_steps) / (total_steps − warmup_steps), which
/// stays 1 from n = total_steps on, also where the warm-up is as long as that.
struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::kConstant;
  std::int64_t warmup_steps = 0;
  std::int64_t total_steps = 1;
  double least_fraction = 0.0;
};

template <>
constexpr auto option_words<ScheduleKind>() {
  return std::to_array<OptionWord<ScheduleKind>>(
      {{ScheduleKind::kConstant, "constant"}, {ScheduleKind::kCosine, "cosine"}});
}

}  // namespace sparity::core
