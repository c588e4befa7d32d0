#pragma once

#include "src/core/objective.h"
#include "src/ops/key_mask.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sparity::ops {

/// Keys that are multiplied at a time where all keys are gone through: their products stay in
/// cache.
inline constexpr std::int64_t kKlKeyTile = 256;

/// Some queries of one batch row, and the keys that are columns of their target and of their
/// scores: each query's own selected keys, gathered, or all keys that one of the queries can reach.
struct KlTile {
  std::int64_t b = 0;
  std::int64_t row0 = 0;
  std::int64_t rows = 0;
  at::Tensor keys;      // I64 [rows, K]: the selected keys, 0 for none; undefined in dense mode
  at::Tensor selected;  // Bool [rows, K]: there is one
  at::Tensor visible;   // Bool [rows, reachable]; undefined where all columns are gathered
  bool target_gathered = false;
  bool scores_gathered = false;

  /// The tile's rows of x [B, S, …].
  at::Tensor of(const at::Tensor& x) const { return x[b].narrow(0, row0, rows); }

  /// Keys of the support, on the columns of the target.
  at::Tensor support() const;
  /// Keys over which q is normalised, on the columns of the scores.
  at::Tensor open() const { return scores_gathered ? selected : visible; }
  /// What lies on the columns of the target, on those of the scores; 0 where they have no other.
  at::Tensor on_score_columns(const at::Tensor& target) const;
  /// The tile's rows of x [B, S, T], on the columns of the target, 0 outside the support.
  at::Tensor on_target_columns(const at::Tensor& x) const;
};

/// How a layer's queries are cut. Fixed by the operands, so that no bit depends on the threads.
class KlTiling {
 public:
  /// `selected` I64 [B, S, K] or undefined in dense mode. The target is gathered where its softmax
  /// stays within the selected keys, the scores where q is normalised over those.
  KlTiling(const KeyMask& mask, const at::Tensor& selected, const core::KlOptions& options,
           std::int64_t tile_rows);

  std::int64_t tiles() const { return (mask_.tokens() + tile_rows_ - 1) / tile_rows_; }
  KlTile tile(std::int64_t b, std::int64_t number) const;

 private:
  const KeyMask& mask_;
  at::Tensor selected_;
  bool target_gathered_;
  bool scores_gathered_;
  std::int64_t tile_rows_;
};

}  // namespace sparity::ops
