#pragma once

#include <cstdint>
#include <span>

namespace sparity::reference::scalar {

/// AdamW's numbers, under torch's names.
struct AdamWRule {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;
};

/// Step number `step` = 1, 2, … of AdamW on p with gradient g and moments m and v, in place,
/// element by element:
///   p ← p · (1 − lr · wd);  m ← β1·m + (1 − β1)·g;  v ← β2·v + (1 − β2)·g²;
///   p ← p − lr / (1 − β1^step) · m / (√v / √(1 − β2^step) + eps).
void adamw_step(std::span<double> p, std::span<double> m, std::span<double> v,
                std::span<const double> g, std::int64_t step, const AdamWRule& rule);

/// min(1, max_norm / (‖g‖ + 1e-6)), ‖g‖ over all numbers of a group.
double clip_coefficient(std::span<const double> g, double max_norm);

/// A learning rate over steps.
struct CosineRule {
  std::int64_t warmup_steps = 0;
  std::int64_t total_steps = 1;
  double least_fraction = 0.0;
};

/// Rate of step n = 0, 1, …: (n + 1) / warmup of the peak, then half a period of the cosine down to
/// its least fraction at n = total, and that from there on.
double cosine_rate(double peak, std::int64_t n, const CosineRule& rule);

}  // namespace sparity::reference::scalar
