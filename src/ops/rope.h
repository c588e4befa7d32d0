#pragma once

#include "src/core/model_config.h"

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// Rotations of B rows of S positions, one for each of the Dr/2 pairs.
struct RotaryTable {
  at::Tensor cos_sin;  // [B, S, Dr/2, 2] in f32(A): cosine, then sine
};

/// Inverse frequencies f [Dr/2], float32 by definition in every dtype (spec 2.5, D-09):
/// f_i = theta^(−2i/Dr); under YaRN f_i/factor · ramp_i + f_i · (1 − ramp_i), every step in
/// float32.
at::Tensor inverse_frequencies(const core::ModelConfig& config);

/// What cos and sin are multiplied by: 1 without YaRN; given, else m(mscale)/m(mscale_all_dim),
/// else m(1), with m(a) = 0.1·a·ln(factor) + 1 (design of transformers; 1 for the released config).
double attention_factor(const core::ModelConfig& config);

/// Dqk^(−1/2), times m(mscale_all_dim)² under YaRN when that key is present and not zero (D-08).
double softmax_scale(const core::ModelConfig& config);

/// The table for `position_ids` I64 [B, S]: phase = f32(position) · f in float32; cos and sin widen
/// to f32(A).
RotaryTable rotary_table(const core::ModelConfig& config, const at::Tensor& position_ids,
                         at::ScalarType activation);

/// Turns pairs (x[2i], x[2i+1]) of x [B, S, heads, Dr]; order kept; in f32(A), rounded to A once
/// (D-04). MLA's layout. The backward turns by the opposite angles.
at::Tensor rotate_interleaved(const at::Tensor& x, const RotaryTable& table);

/// Turns pairs (x[i], x[i + Dr/2]). The indexer's layout (D-01).
at::Tensor rotate_half_split(const at::Tensor& x, const RotaryTable& table);

}  // namespace sparity::ops
