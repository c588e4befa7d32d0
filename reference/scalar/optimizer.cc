#include "reference/scalar/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace sparity::reference::scalar {

void adamw_step(std::span<double> p, std::span<double> m, std::span<double> v,
                std::span<const double> g, std::int64_t step, const AdamWRule& rule) {
  const double m_share = 1.0 - std::pow(rule.beta1, static_cast<double>(step));
  const double v_share = 1.0 - std::pow(rule.beta2, static_cast<double>(step));
  for (std::size_t i = 0; i < p.size(); ++i) {
    p[i] -= rule.learning_rate * rule.weight_decay * p[i];
    m[i] = rule.beta1 * m[i] + (1.0 - rule.beta1) * g[i];
    v[i] = rule.beta2 * v[i] + (1.0 - rule.beta2) * g[i] * g[i];
    p[i] -= rule.learning_rate * (m[i] / m_share) / (std::sqrt(v[i] / v_share) + rule.eps);
  }
}

double clip_coefficient(std::span<const double> g, double max_norm) {
  double squares = 0.0;
  for (const double value : g) {
    squares += value * value;
  }
  return std::min(1.0, max_norm / (std::sqrt(squares) + 1e-6));
}

double cosine_rate(double peak, std::int64_t n, const CosineRule& rule) {
  if (n < rule.warmup_steps) {
    return peak * static_cast<double>(n + 1) / static_cast<double>(rule.warmup_steps);
  }
  if (n >= rule.total_steps) {
    return peak * rule.least_fraction;
  }
  const double x = static_cast<double>(n - rule.warmup_steps) /
                   static_cast<double>(rule.total_steps - rule.warmup_steps);
  const double height = 0.5 + 0.5 * std::cos(std::numbers::pi * x);
  return peak * (rule.least_fraction + (1.0 - rule.least_fraction) * height);
}

}  // namespace sparity::reference::scalar
