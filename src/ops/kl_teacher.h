#pragma once

#include "src/ops/absorbed_tile.h"
#include "src/ops/indexer_kl.h"
#include "src/ops/kl_rows.h"
#include "src/ops/kl_tiles.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace sparity::ops {

/// Targets from one layer's own attention, tile by tile, in the form that made its log-sum-exp:
/// absorbed over gathered keys, expanded over all of them, so that P = exp(z − lse) sums to one as
/// the attention's own softmax did.
class KlTargets {
 public:
  KlTargets(const KlTeacher& teacher, const KlRowRule& rule);
  KlTargets(const KlTargets&) = delete;  // `absorbed_` refers to `teacher_`

  /// Queries of a tile.
  std::int64_t tile_rows() const;

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
  /// Σ_h exp(z − lse), each head rounded as the rule wants; z, which has heads and keys as the
  /// given dimensions, is overwritten. lse broadcasts to z.
  at::Tensor sum_of_heads(const at::Tensor& z, const at::Tensor& lse, std::int64_t heads,
                          std::int64_t keys) const;

  KlTeacher teacher_;
  KlRowRule rule_;
  std::optional<Absorbed> absorbed_;  // where the target is gathered
  at::Tensor head_keys_;              // [B, H, T, Dn + Dr], where it is not
};

}  // namespace sparity::ops
