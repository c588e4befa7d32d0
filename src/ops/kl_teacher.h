#pragma once

#include "src/ops/indexer_kl.h"
#include "src/ops/kl_rows.h"
#include "src/ops/kl_tiles.h"

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// Targets from one layer's own attention, tile by tile, in the form that made its log-sum-exp:
/// absorbed over gathered keys, expanded over all of them, so that P = exp(z − lse) sums to one as
/// the attention's own softmax did.
class KlTargets {
 public:
  KlTargets(const KlTeacher& teacher, const KlRowRule& rule);

  /// p [rows, columns of the target], 0 outside the support.
  at::Tensor target(const KlTile& tile) const;

 private:
  /// Σ_h P over the selected keys [rows, K].
  at::Tensor over_selected(const KlTile& tile) const;
  /// Σ_h P over every reachable key [rows, reachable], 0 outside the support.
  at::Tensor over_reachable(const KlTile& tile) const;
  /// z [H, rows, width] of keys [key0, key0 + width), −inf where not visible.
  at::Tensor logits(const KlTile& tile, const at::Tensor& q, std::int64_t key0,
                    std::int64_t width) const;
  /// ln Σ exp z over every key that a query sees, [H, rows]: the attention's own in dense mode.
  at::Tensor visible_lse(const KlTile& tile, const at::Tensor& q) const;
  /// P = exp(z − lse), rounded as the rule wants; z is overwritten. Heads are dimension `heads`.
  at::Tensor probabilities(at::Tensor z, const at::Tensor& lse, std::int64_t heads) const;

  KlTeacher teacher_;
  KlRowRule rule_;
  at::Tensor key_up_;       // [H, Dn, Rkv]
  at::Tensor latent_keys_;  // [B, T, Rkv + Dr], where the target is gathered
  at::Tensor head_keys_;    // [B, H, T, Dn + Dr], where it is not
};

}  // namespace sparity::ops
