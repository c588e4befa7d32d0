#pragma once

#include "src/ops/indexer_kl.h"
#include "src/ops/kl_rows.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sparity::ops {

/// Some queries of one batch row, and the keys that are their columns: either each query's own
/// selected keys, gathered, or all keys that one of them can reach.
struct KlTile {
  std::int64_t b = 0;
  std::int64_t row0 = 0;
  std::int64_t rows = 0;
  at::Tensor indices;  // I64 [rows, C], the key of each column, where columns are gathered
  at::Tensor open;     // Bool [rows, C]: columns over which q is normalised
  at::Tensor support;  // Bool [rows, C]: columns of the support; `open` itself where they agree

  /// The tile's rows of x [B, S, …].
  at::Tensor of(const at::Tensor& x) const { return x[b].narrow(0, row0, rows); }
};

/// Where one tile's gradients go.
struct KlGradients {
  at::Tensor q;        // [B, S, Hi, Di], written
  at::Tensor weights;  // [B, S, Hi], written
  at::Tensor k;        // [T, Di] of one batch row, added to
};

/// One layer's KL loss by tiles of queries, everything in f32(A).
class KlLayer {
 public:
  KlLayer(const IndexOperands& index, const KlTeacher& teacher, const KeyMask& mask,
          const core::KlOptions& options);

  std::int64_t tiles() const { return (queries_ + tile_rows_ - 1) / tile_rows_; }
  KlTile tile(std::int64_t b, std::int64_t number) const;

  /// I [rows, C], −inf where not open.
  at::Tensor scores(const KlTile& tile) const;
  /// The teacher's target p [rows, C], 0 outside the support.
  at::Tensor target(const KlTile& tile) const;
  /// From g = dKL/dI [rows, C].
  void backward(const KlTile& tile, const at::Tensor& g, const KlGradients& gradients) const;

  const KlRowRule& rule() const { return rule_; }
  at::ScalarType wide() const { return index_.weights.scalar_type(); }

 private:
  /// Calls `body(column0, width, keys)` for every share of the columns: `keys` is [width, n],
  /// shared by all rows, or [rows, width, n], gathered; `all` is [T, n].
  template <typename Body>
  void for_each_share(const KlTile& tile, const at::Tensor& all, Body body) const;

  KlRowRule rule_;
  const KeyMask& mask_;
  KlTeacher teacher_;
  IndexOperands index_;
  at::Tensor key_up_;       // [H, Dn, Rkv]
  at::Tensor latent_keys_;  // [B, T, Rkv + Dr]
  std::int64_t queries_;
  std::int64_t tile_rows_;
  bool gathers_;
};

}  // namespace sparity::ops
