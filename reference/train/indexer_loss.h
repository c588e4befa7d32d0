#pragma once

#include "src/core/objective.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace sparity::reference::train {

/// The keys of every row, Bool [B, S, T] each.
struct RowKeys {
  at::Tensor support;  // Ω: what the layer attended to, within `valid`
  at::Tensor valid;    // `model::valid_pairs`; a row counts when it has one
};

/// The target p [B, S, T] of one layer, from its own attention: P = Σ_h softmax_h of scale · <q_h,
/// k_h>, over Ω (kSelected) or over every valid key; p = P / ΣP on Ω and 0 elsewhere, where ΣP runs
/// over Ω, or over every valid key (kRestricted), and has ε added under kAddToTarget. 0 in padded
/// rows and where ΣP is 0. q [B, S, H, Dqk] and k [B, T, H, Dqk] as attention multiplies them, in
/// `activation` or wider; p in f32 or wider. Under kActivation every head's probabilities and p are
/// rounded to `activation`. No gradient. Spec 4.2, 4.3, 4.5.
at::Tensor kl_target(const at::Tensor& q, const at::Tensor& k, double scale, const RowKeys& keys,
                     const core::KlOptions& options, at::ScalarType activation);

/// KL_t [B, S] = Σ_{s∈Ω} p (ln p − ln q) as the guard has it, q = softmax of the index scores I
/// over Ω or over every valid key; a term of p = 0 is 0. `target` as `kl_target` returns it,
/// `scores` [B, S, T], f32 or wider, anything outside `valid` (−inf there is fine). Differentiable
/// in the scores alone, by automatic differentiation; 0 outside q's keys. Under kActivation the
/// logarithm of q is rounded to `activation`. Spec 4.2, 4.3.
at::Tensor kl_rows(const at::Tensor& target, const at::Tensor& scores, const RowKeys& keys,
                   const core::KlOptions& options, at::ScalarType activation);

/// What reductions divide by.
struct KlCounts {
  std::int64_t layers = 0;
  std::int64_t rows = 0;       // that count, of one layer
  std::int64_t positions = 0;  // B · S
  std::optional<std::int64_t> items = {};
};

/// The rows that count: those with a valid key. valid Bool [B, S, T].
std::int64_t counted_rows(const at::Tensor& valid);

/// What Σ over layers and rows of KL_t is divided by. Throws (exit code 5) when no row counts, or
/// when kNumItems comes without items. Spec 4.2.
double kl_divisor(core::KlReduction reduction, const KlCounts& counts);

}  // namespace sparity::reference::train
