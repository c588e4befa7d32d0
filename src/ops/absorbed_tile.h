#pragma once

#include "src/ops/attention.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace sparity::ops {

/// One layer's attention in absorbed form, in f32(A): the latent serves as key and, without its
/// rotated part, as value. Rows end in zeros up to what `row_product` reads.
struct Absorbed {
  const AttentionOperands& operands;
  const at::Tensor& indices;
  at::ScalarType wide;
  std::int64_t rank;      // Rkv
  std::int64_t channels;  // Rkv + Dr
  at::Tensor key_up;      // [H, Dn, padded Rkv]
  at::Tensor value_up;    // [H, Dv, padded Rkv]
  at::Tensor keys;        // [B, T, padded channels]
  std::int64_t tile_rows;

  Absorbed(const AttentionOperands& of, const at::Tensor& chosen);

  std::int64_t heads() const { return operands.q_nope.size(2); }
  std::int64_t tiles() const { return (operands.q_nope.size(1) + tile_rows - 1) / tile_rows; }
};

/// Some queries of one batch row and the keys they chose. A thread makes one and moves it from tile
/// to tile; its buffers stay. What belongs to pairs of query and key is [rows, K, padded H]: the
/// keys of a row in the order of its indices, heads side by side. W is float or double.
template <typename W>
class AbsorbedTile {
 public:
  explicit AbsorbedTile(const Absorbed& layer);

  /// Tile `item` of B · tiles(): forms its queries.
  void move_to(std::int64_t item);

  std::int64_t row0() const { return row0_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t padded_heads() const { return pairs_.size(3); }
  /// The tile's rows of x [B, S, …].
  at::Tensor of(const at::Tensor& x) const { return x[b_].narrow(0, row0_, rows_); }

  const at::Tensor& q_nope() const { return q_nope_; }  // [H, rows, Dn]
  const at::Tensor& q() const { return q_; }            // [H, rows, padded channels]

  /// One of two buffers [rows, K, padded H].
  at::Tensor pairs(std::int64_t which) const { return pairs_[which].narrow(0, 0, rows_); }

  /// out [rows, K, padded H] = <x[h, row], key> over the first `terms` channels, x [H, rows, …];
  /// `none` where the row has no further key.
  void dot_keys(const at::Tensor& x, std::int64_t terms, double none, const at::Tensor& out);

  /// Σ over a row's keys of weight · key: the first `columns` channels, [H, rows, columns].
  at::Tensor sum_keys(const at::Tensor& weights, std::int64_t columns);

  /// sum[key] += Σ_h weight · x[h, row] for every key of every row, in order; x [H, rows, columns],
  /// sum [T, padded channels].
  void add_to_keys(const at::Tensor& weights, const at::Tensor& x, const at::Tensor& sum);

 private:
  /// Finds the keys of row r.
  void look_up(std::int64_t r);

  const Absorbed& layer_;
  std::int64_t b_ = 0;
  std::int64_t row0_ = 0;
  std::int64_t rows_ = 0;
  at::Tensor q_nope_;
  at::Tensor q_;
  at::Tensor pairs_;                  // [2, tile rows, K, padded H]
  at::Tensor by_channel_;             // [padded channels, padded H] of one query
  std::vector<std::int64_t> chosen_;  // of one row, without −1
  std::vector<const W*> keys_;        // their rows
  std::vector<const W*> left_;
  std::vector<const W*> right_;
  std::vector<W*> out_;
};

}  // namespace sparity::ops
