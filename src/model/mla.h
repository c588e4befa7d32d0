#pragma once

#include "src/model/bound_weights.h"
#include "src/model/forward_context.h"
#include "src/ops/indexer.h"
#include "src/tensors/probe.h"

#include <ATen/core/Tensor.h>

#include <string>

namespace sparity::model {

/// The lightning indexer of one layer (spec 2.9).
struct Indexer {
  ops::LinearWeight wq_b;          // [Hi·Di, Rq]
  ops::LinearWeight wk;            // [Di, D]
  at::Tensor k_norm_weight;        // [Di]
  at::Tensor k_norm_bias;          // [Di]
  ops::LinearWeight weights_proj;  // [Hi, D]

  static Indexer bind(const BoundWeights& weights, const std::string& prefix);

  /// x [B, S, D] (normed), q_latent [B, S, Rq] → what keys are scored with.
  ops::IndexOperands operands(const at::Tensor& x, const at::Tensor& q_latent,
                              const ForwardContext& context, const tensors::Probe& probe) const;
  /// The selected keys, I64 [B, S, min(index_topk, T)]; never a gradient.
  static at::Tensor select(const ops::IndexOperands& operands, const ForwardContext& context,
                           const tensors::Probe& probe);
};

/// Multi-head latent attention of one layer (spec 2.8).
struct Mla {
  ops::LinearWeight q_a_proj;            // [Rq, D]
  at::Tensor q_a_layernorm;              // [Rq]
  ops::LinearWeight q_b_proj;            // [H·Dqk, Rq]
  ops::LinearWeight kv_a_proj_with_mqa;  // [Rkv+Dr, D]
  at::Tensor kv_a_layernorm;             // [Rkv]
  ops::LinearWeight kv_b_proj;           // [H·(Dn+Dv), Rkv]
  ops::LinearWeight o_proj;              // [D, H·Dv]
  Indexer indexer;

  static Mla bind(const BoundWeights& weights, const std::string& prefix);

  /// x [B, S, D] (normed) → [B, S, D]; the indexer's KL loss goes to `losses` when the objective
  /// has one.
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context,
                     const tensors::Probe& probe, LayerLosses& losses) const;

 private:
  /// The selection, where one is wanted, and the operands that the KL loss differentiates.
  struct Indexed {
    ops::IndexOperands operands;
    at::Tensor selected;
  };
  Indexed index(const at::Tensor& x, const at::Tensor& q_latent, const ForwardContext& context,
                const tensors::Probe& probe) const;
};

}  // namespace sparity::model
