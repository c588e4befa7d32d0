#include "suites/judge/tolerances.h"

#include "src/core/error.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sparity::judge {

namespace {

/// The share of ∫cos^(samples−1) over (−π/2, π/2) that lies above `theta`: by parts, two powers at
/// a time, down to ∫1 (odd samples) or ∫cos (even ones).
double share_above(double theta, std::int64_t samples) {
  const double sine = std::sin(theta);
  const double cosine = std::cos(theta);
  const bool odd = samples % 2 != 0;
  double term = odd ? 2 / std::numbers::pi * cosine : 1.0;
  double sum = 0;
  for (std::int64_t power = odd ? 1 : 0; power + 2 <= samples; power += 2) {
    sum += term;
    term *= cosine * cosine * static_cast<double>(power + 1) / static_cast<double>(power + 2);
  }
  const double within = odd ? 2 / std::numbers::pi * theta + sine * sum : sine * sum;
  return (1 - within) / 2;
}

}  // namespace

double honest_ratio(std::int64_t samples) {
  SPARITY_CHECK(samples >= 1, "a ratio of errors needs a sample");
  double low = 0;
  double high = std::numbers::pi / 2;
  for (int bit = 0; bit < 60; ++bit) {
    const double middle = (low + high) / 2;
    (share_above(middle, samples) > kScatterAlarm ? low : high) = middle;
  }
  return std::tan(low) + 1 / std::cos(low);
}

double widening(std::optional<std::int64_t> samples) {
  if (!samples) {
    return 1;
  }
  const double ratio =
      honest_ratio(std::max<std::int64_t>(1, *samples));  // none, if all is padding
  return std::clamp(ratio / 1.5, 1.0, kMultiplierCap);
}

double a_priori_error(core::Dtype dtype, std::int64_t reduction_length) {
  SPARITY_CHECK(reduction_length >= 1, "a reduction length is at least 1");
  const double u = core::unit_roundoff(dtype);
  const double u_accumulator = std::min(u, core::unit_roundoff(core::Dtype::kF32));
  return u + std::sqrt(static_cast<double>(reduction_length)) * u_accumulator;
}

std::int64_t layer_reduction_length(const core::ModelConfig& config, std::int64_t tokens) {
  return 2 * config.hidden_size + config.q_lora_rank + config.kv_lora_rank + config.qk_head_dim() +
         config.num_attention_heads * config.v_head_dim + tokens +
         std::max(config.intermediate_size,
                  config.moe_intermediate_size * config.num_experts_per_tok);
}

void Calibration::observe(const Comparison& comparison) {
  for (const Gate& gate : comparison.gates) {
    auto entry = std::ranges::find_if(entries, [&](const Entry& candidate) {
      return candidate.gate == gate.name && candidate.dtype == comparison.dtype;
    });
    if (entry == entries.end()) {
      entry = entries.insert(entries.end(), Entry{.gate = gate.name, .dtype = comparison.dtype});
    }
    if (gate.headroom() > entry->largest_headroom) {
      entry->largest_headroom = gate.headroom();
      entry->tensor = comparison.tensor;
    }
    ++entry->comparisons;
  }
}

}  // namespace sparity::judge
