#pragma once

#include "src/ops/key_mask.h"

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// What attention needs of one layer. All in the activation dtype A.
struct AttentionOperands {
  at::Tensor q_nope;     // [B, S, H, Dn]
  at::Tensor q_rot;      // [B, S, H, Dr]
  at::Tensor kv;         // [B, T, Rkv], the normed latent
  at::Tensor k_rot;      // [B, T, Dr], one rope head for all
  at::Tensor kv_b_proj;  // [H·(Dn+Dv), Rkv]; per head Dn key rows, then Dv value rows
  double scale = 1.0;

  std::int64_t v_head_dim() const { return kv_b_proj.size(0) / q_nope.size(2) - q_nope.size(3); }
};

/// What logits are multiplied by: the operands' scale.
double scale_of(const AttentionOperands& operands);

struct AttentionResult {
  at::Tensor output;  // [B, S, H, Dv] in A
  at::Tensor lse;     // [B, S, H] in f32(A): log of the sum of exponentials; −inf for empty rows
};

/// Attention over selected keys in absorbed form (spec 2.8): with W_h the key rows of head h,
///   score[h,t] = scale · (<q_nope·W_h, kv_t> + <q_rot, k_rot_t>),  P = softmax over the selected
///   keys, output[h] = (sum_t P[h,t] · kv_t) · V_hᵀ.
/// `indices` I64 [B, S, K], −1 = none. Queries go by tiles, and read their keys where they lie.
/// Sums and softmax in f32(A), rounded to A at the output. Rows without a key give zero (D-26), and
/// zero gradients. Keeps operands, indices and lse for the backward, which computes P = exp(score −
/// lse) again tile by tile; key gradients are added up in lanes of fixed tiles. lse has no
/// gradient.
AttentionResult sparse_attention(const AttentionOperands& operands, const at::Tensor& indices);

/// Attention over every visible key in expanded form: keys k_h = [W_h·kv, k_rot] and values V_h·kv
/// are formed once, in f32(A); queries × keys go by tiles with a running maximum and sum (online
/// softmax), so no [H, S, T] tensor exists. Same rounding as `sparse_attention`. Keeps operands,
/// masks, output and lse for the backward, which goes over the same tiles.
AttentionResult dense_attention(const AttentionOperands& operands, const KeyMask& mask);

}  // namespace sparity::ops
