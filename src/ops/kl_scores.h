#pragma once

#include "src/ops/indexer.h"
#include "src/ops/kl_tiles.h"

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// Where one tile's gradients go, in f32(A).
struct KlGradients {
  at::Tensor q;        // [B, S, Hi, Di], written
  at::Tensor weights;  // [B, S, Hi], written
  at::Tensor k;        // [T, Di] of one batch row, added to
};

/// The index scores of a KL loss and their way back, tile by tile, in f32(A).
class KlScores {
 public:
  explicit KlScores(const IndexOperands& index);

  /// I [rows, columns of the scores], −inf where not open.
  at::Tensor scores(const KlTile& tile) const;
  /// From g = dKL/dI: with a[h] = <q[h], k>, dw[h] = Σ g · max(a[h], 0) and da[h] = g · w[h] where
  /// a[h] > 0, else 0 (relu'(0) = 0); dq[h] = da[h] · k, dk = daᵀ · q.
  void backward(const KlTile& tile, const at::Tensor& g, const KlGradients& gradients) const;

 private:
  /// Calls `body(column0, width, keys)` for every share of the columns: `keys` [rows, width, Di]
  /// where gathered, else [width, Di] for all rows.
  template <typename Body>
  void for_each_share(const KlTile& tile, Body body) const;

  IndexOperands index_;
};

}  // namespace sparity::ops
