#pragma once

#include "src/core/forward_options.h"
#include "src/core/model_config.h"

#include <ATen/core/Tensor.h>

namespace sparity::reference::model {

/// f[i] = theta^(−2i/Dr) for i < Dr/2; with YaRN each is mixed with f[i]/factor by a linear ramp
/// between the dimensions that turn `beta_fast` and `beta_slow` times within the original context.
/// F32 [Dr/2] on the CPU: inverse frequencies are f32 by definition of the model. Takes DeepSeek's
/// form f/factor·(1−smooth) + f·smooth (D-09). Spec 2.5.
at::Tensor inverse_frequencies(const core::ModelConfig& config);

/// Dqk^-½, times m² with m = 0.1·mscale_all_dim·ln(factor) + 1 when YaRN is on and that key is
/// there and not zero (D-08). Spec 2.7.
double softmax_scale(const core::ModelConfig& config);

/// What multiplies cos and sin under YaRN: `attention_factor` when given, else
/// m(mscale)/m(mscale_all_dim) when both are there and not zero, else m(1); 1 without YaRN.
/// Spec 2.5.
double attention_factor(const core::ModelConfig& config);

/// cos and sin of every token's phases, both [B, S, Dr/2].
struct RotaryTable {
  at::Tensor cos;
  at::Tensor sin;
};

/// phase[b,s,i] = f32(position[b,s]) · f[i] in f32; cos and sin of it times `attention_factor`.
/// `position_ids` I64 [B, S]. The table's dtype is what the rotation is computed in: the wider of
/// `compute` and f32 under `official`, `compute` under `hf`, whose bf16 table is rounded from f32
/// (D-04).
RotaryTable rotary_table(const core::ModelConfig& config, const at::Tensor& position_ids,
                         at::ScalarType compute, core::Recipe recipe);

/// Rotates the pairs (x[2i], x[2i+1]) of x [B, S, heads, Dr]: MLA's layout. The order is kept, as
/// in DeepSeek's code; transformers returns the even halves first, then the odd ones, which no dot
/// product sees (D-04). Computed in the table's dtype, returned in x's. Spec 2.6.
at::Tensor rotate_interleaved(const at::Tensor& x, const RotaryTable& table);

/// Rotates the pairs (x[i], x[i + Dr/2]) of x [B, S, heads, Dr]: the indexer's layout (D-01).
/// Otherwise as `rotate_interleaved`.
at::Tensor rotate_half_split(const at::Tensor& x, const RotaryTable& table);

}  // namespace sparity::reference::model
