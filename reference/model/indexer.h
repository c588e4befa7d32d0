#pragma once

#include "reference/model/linear.h"
#include "reference/model/rope.h"
#include "src/core/forward_options.h"
#include "src/core/model_config.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sparity::reference::model {

/// The lightning indexer of one layer. Names are the checkpoint's.
struct IndexerWeights {
  Linear wq_b;               // [Hi·Di, Rq]
  Linear wk;                 // [Di, D]
  at::Tensor k_norm_weight;  // [Di]
  at::Tensor k_norm_bias;    // [Di]
  Linear weights_proj;       // [Hi, D]
};

/// wq_b(q_latent) by head, its first Dr components rotated half-split (D-01, D-02).
/// q_latent [B, S, Rq] → [B, S, Hi, Di] in the activation dtype. Spec 2.9.
at::Tensor index_queries(const at::Tensor& q_latent, const IndexerWeights& weights,
                         const RotaryTable& table);

/// LayerNorm(wk(x)) with eps 1e-6 (D-05), its first Dr components rotated half-split: one key head
/// for all query heads. x [B, S, D] → [B, S, Di] in the activation dtype. Spec 2.9.
at::Tensor index_keys(const at::Tensor& x, const IndexerWeights& weights, const RotaryTable& table);

/// weights_proj(f32(x)) · Hi^-½ · Di^-½. x [B, S, D] → [B, S, Hi], f32 or wider (D-13, D-21).
/// Under `hf` the projection takes place in the activation dtype and is rounded to it: transformers
/// 5 keeps weights_proj in f32 beside float16 activations only. Spec 2.9.
at::Tensor index_weights(const at::Tensor& x, const IndexerWeights& weights, core::Recipe recipe);

/// x times the orthonormal Sylvester matrix of its last dimension, in f32 or wider. Since Hᵀ·H = 1,
/// scores of transformed queries and keys equal those of the plain ones in exact arithmetic (D-10).
/// Throws (exit code 5) unless the last dimension is a power of two. Spec 2.9.
at::Tensor hadamard(const at::Tensor& x);

/// I[b,s,t] = Σ_h w[b,s,h] · relu(Σ_d q[b,s,h,d] · k[b,t,d]), −inf where `valid` is false (D-20).
/// q [B, S, Hi, Di], k [B, T, Di], w [B, S, Hi], valid Bool [B, S, T] → [B, S, T], f32 or wider.
/// Spec 2.9.
at::Tensor index_scores(const at::Tensor& q, const at::Tensor& k, const at::Tensor& w,
                        const at::Tensor& valid);

/// The min(k, T) best keys of each row: I64 [B, S, min(k, T)] by (score descending, index
/// ascending), −0 equal to +0, and −1 in place of every key whose score is −inf (D-17, D-18, D-19).
/// No gradient.
at::Tensor topk_indices(const at::Tensor& scores, std::int64_t k);

/// What an indexer makes of its layer's tokens.
struct KeySelection {
  at::Tensor scores;   // [B, S, T] as `index_scores` returns them
  at::Tensor indices;  // I64 [B, S, min(index_topk, T)] as `topk_indices` orders them
};

/// The whole indexer: what its layer may attend to, or whatever the probe puts in its place. x [B,
/// S, D] is the layer's normed input, q_latent [B, S, Rq] the normed query latent, valid Bool [B,
/// S, T]. Names: q, k, weights, scores, topk_indices; q and k are shown before any Hadamard
/// transform.
KeySelection select_keys(const at::Tensor& x, const at::Tensor& q_latent,
                         const IndexerWeights& weights, const core::ModelConfig& config,
                         const at::Tensor& valid, const RotaryTable& table, core::Recipe recipe,
                         bool use_hadamard, const tensors::Probe& probe);

}  // namespace sparity::reference::model
