#include "suites/judge/tolerances.h"

#include "src/core/error.h"

#include <algorithm>
#include <cmath>

namespace sparity::judge {

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
    entry->largest_headroom = std::max(entry->largest_headroom, gate.headroom());
    ++entry->comparisons;
  }
}

}  // namespace sparity::judge
