#pragma once

#include "src/core/objective.h"
#include "src/ops/attention.h"
#include "src/ops/indexer.h"
#include "src/ops/key_mask.h"

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// The attention that an indexer learns from. No gradient ever reaches it.
struct KlTeacher {
  AttentionOperands operands;
  at::Tensor lse;       // [B, S, H] in f32(A), as the attention left it
  at::Tensor selected;  // I64 [B, S, K], −1 = none; undefined in dense mode: every visible key
};

/// One layer's KL loss before its reduction (spec 4.2).
struct IndexerKl {
  at::Tensor sum;   // [] in f32(A): Σ KL_t; differentiable in the index operands
  at::Tensor rows;  // [B, S] in f32(A): KL_t, 0 where a row does not count; no gradient
};

/// Queries that count in the KL loss: tokens that see a key.
std::int64_t counted_rows(const KeyMask& mask);

/// p[b,t,s], [B, S, T] in f32(A): 0 outside the support, and in rows that do not count. Only for
/// whoever asks to see it: the loss itself never forms it.
at::Tensor kl_target(const KlTeacher& teacher, const KeyMask& mask, const core::KlOptions& options);

/// The loss and its gradients in one pass over tiles of queries. Each head's P = exp(z − lse) comes
/// from the saved log-sum-exp, so that its sum over keys is one, and the sum over heads H: the
/// target's row is divided by that sum as it came out. Scores are computed again: where q is
/// normalised over the selected keys only those are gathered, else all reachable keys go by in
/// tiles of 256. Gradients from g = dKL_t/dI (KlScores::backward); those of keys are added up in
/// eight lanes of fixed tiles, so that no bit depends on the number of threads. `target` [B, S, T],
/// where defined, is used in place of the teacher's. All in f32(A); gradients are rounded to A
/// once. A probe that wants the gradient of `scores` sees it as [B, S, T], which nothing else
/// forms; one that replaces it is refused (exit code 5), since the gradients are already made.
IndexerKl indexer_kl(const IndexOperands& index, const KlTeacher& teacher, const KeyMask& mask,
                     const core::KlOptions& options, const at::Tensor& target = {},
                     const tensors::Probe& probe = {});

}  // namespace sparity::ops
