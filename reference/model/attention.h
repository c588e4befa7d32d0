#pragma once

#include "reference/model/forward_pass.h"
#include "reference/model/indexer.h"
#include "reference/model/linear.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sparity::reference::model {

/// Multi-head latent attention of one layer. Names are the checkpoint's.
struct AttentionWeights {
  Linear q_a_proj;            // [Rq, D]
  at::Tensor q_a_layernorm;   // [Rq]
  Linear q_b_proj;            // [H·Dqk, Rq]
  Linear kv_a_proj_with_mqa;  // [Rkv+Dr, D]
  at::Tensor kv_a_layernorm;  // [Rkv]
  Linear kv_b_proj;           // [H·(Dn+Dv), Rkv]
  Linear o_proj;              // [D, H·Dv]
  IndexerWeights indexer;
};

/// Softmax over some keys.
struct MaskedSoftmax {
  at::Tensor probabilities;  // [B, H, S, T], 0 outside the support
  at::Tensor lse;            // [B, H, S], −inf in a row without support
};

/// Softmax over the supported keys of z [B, H, S, T], support Bool [B, 1, S, T], in z's dtype. A
/// row without any has probabilities 0, and no NaN in either direction (D-25, D-26).
MaskedSoftmax masked_softmax(const at::Tensor& z, const at::Tensor& support);

/// Attention logits z[h,t] = scale · <q[h], k[h,t]>: q [B, S, H, Dqk], k [B, T, H, Dqk] →
/// [B, H, S, T], f32 or wider (D-24).
at::Tensor attention_logits(const at::Tensor& q, const at::Tensor& k, double scale);

/// What attention leaves behind for every query and head.
struct Attended {
  at::Tensor
      output;      // [B, S, H, Dv] in the activation dtype; 0 where a query may see no key (D-26)
  at::Tensor lse;  // [B, S, H], f32 or wider; −inf where a query may see no key
};

/// Softmax attention over the keys of `support`:
///   z[h,t] = scale · <q[h], k[h,t]>,  lse[h] = ln Σ_{t∈support} e^z[h,t],
///   output[h] = Σ_{t∈support} e^(z[h,t] − lse[h]) · v[h,t].
/// q [B, S, H, Dqk], k [B, T, H, Dqk], v [B, T, H, Dv], support Bool [B, S, T]. Products with keys,
/// softmax and lse are f32 or wider (D-24). Under `official` the probabilities are rounded to the
/// activation dtype before they weigh the values; under `hf` they are not, as in the unfused CPU
/// path of scaled_dot_product_attention, and only the output is rounded. Spec 2.8.
Attended masked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& support, double scale, core::Recipe recipe);

/// Every head's keys and values, in the activation dtype.
struct ExpandedKeys {
  at::Tensor k;  // [B, T, H, Dqk], nope then rotated
  at::Tensor v;  // [B, T, H, Dv]
};

/// Keys and values out of the latent: kv_b_proj(kv_latent) split by head into Dn key rows, then Dv
/// value rows; the shared rotated key is repeated to all heads. kv_latent [B, T, Rkv], k_rot [B, T,
/// Dr], kv_b_proj [H·(Dn+Dv), Rkv]. Spec 2.8 (prefill).
ExpandedKeys expand_keys(const at::Tensor& kv_latent, const at::Tensor& k_rot,
                         const Linear& kv_b_proj, std::int64_t heads, std::int64_t nope_dim);

/// MLA in expanded form: `expand_keys`, then `masked_attention`. q [B, S, H, Dqk] (nope, then
/// rotated), support Bool [B, S, T]. Spec 2.8 (prefill).
Attended mla(const at::Tensor& q, const at::Tensor& kv_latent, const at::Tensor& k_rot,
             const Linear& kv_b_proj, const at::Tensor& support, double scale, core::Recipe recipe);

/// The attention part of a layer, from its normed input x [B, S, D] to the output of o_proj [B, S,
/// D], which the caller shows to the probe. Both latents' norms use eps 1e-6, whatever the config
/// says of the others. The support is the selection intersected with the valid pairs, or every
/// valid pair in dense mode, where the indexer only runs when its scores or indices are wanted
/// (D-14, D-59). `record`, where not null, receives all but the routing. Spec 2.8, 2.9.
at::Tensor self_attention(const at::Tensor& x, const AttentionWeights& weights,
                          const ForwardPass& pass, const tensors::Probe& probe,
                          LayerRecord* record);

}  // namespace sparity::reference::model
