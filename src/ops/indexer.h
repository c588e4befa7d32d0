#pragma once

#include "src/ops/key_mask.h"
#include "src/ops/linear.h"
#include "src/ops/rope.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// Rotates the first Dr channels of index queries or keys x [B, S, heads, Di], half-split (D-01,
/// D-02).
at::Tensor rotate_index_heads(const at::Tensor& x, const RotaryTable& table);

/// y = x · Hᵀ / sqrt(n) for the Sylvester matrix H of order n, the last dimension: a power of two.
/// By butterflies, in f32(x), and not rounded to x's dtype, so that scores stay what they are
/// without it (spec 2.9, D-10). Orthonormal and its own inverse.
at::Tensor hadamard(const at::Tensor& x);

/// w = weights_proj(f32 x) · Hi^(−1/2) · Di^(−1/2), f32(x) [B, S, Hi]; may be negative (D-13,
/// D-21).
at::Tensor index_head_weights(const at::Tensor& x, const LinearWeight& weights_proj,
                              std::int64_t index_head_dim,
                              const std::optional<tensors::DropoutDraw>& draw = std::nullopt);

/// What a query is scored with.
struct IndexOperands {
  at::Tensor q;        // [B, S, Hi, Di] in A, or f32(A) after `hadamard`
  at::Tensor k;        // [B, T, Di] in the same
  at::Tensor weights;  // [B, S, Hi] in f32(A)
};

/// I[b,s,t] = sum_h w[b,s,h] · max(<q[b,s,h], k[b,t]>, 0), in f32(A) (spec 2.9; D-20), −inf at
/// masked keys, and the `index_topk` best visible keys of every query (`top_k`). Each thread scores
/// a few queries at a time and chooses at once; a probe that wants `scores` sees them tile by tile
/// of rows, the same bits. Returns I64 [B, S, min(index_topk, T)].
at::Tensor select_keys(const IndexOperands& operands, const KeyMask& mask, std::int64_t index_topk,
                       const tensors::Probe& probe);

/// Keys that came from elsewhere, I64 [B, S, K]: those that their query may not see become −1.
/// Throws (exit code 5) for an index outside −1 … T−1.
at::Tensor keep_visible(const at::Tensor& indices, const KeyMask& mask);

}  // namespace sparity::ops
