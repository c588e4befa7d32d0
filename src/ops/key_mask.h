#pragma once

#include "src/tensors/inputs.h"

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// Which keys each query may see: not later than the query, a token, and open in the caller's mask.
/// Padded queries see nothing. Never held as a [B, S, T] tensor unless the caller passed one.
class KeyMask {
 public:
  explicit KeyMask(const tensors::Inputs& inputs);
  /// Bool [B, T], and Bool [B, S, T] or undefined.
  KeyMask(const at::Tensor& token_mask, const at::Tensor& pair_mask);

  std::int64_t batch() const { return token_mask_.size(0); }
  std::int64_t tokens() const { return token_mask_.size(1); }
  const at::Tensor& token_mask() const { return token_mask_; }
  const at::Tensor& pair_mask() const { return pair_mask_; }

  /// What query s of batch row b may see of keys 0 … count − 1, to `out`, true = may see.
  void row(std::int64_t b, std::int64_t s, std::int64_t count, bool* out) const;

  /// The same without causality, for a planted fault.
  void row_without_causality(std::int64_t b, std::int64_t s, std::int64_t count, bool* out) const;

  /// Bool [B, row1 − row0, T] for queries [row0, row1).
  at::Tensor rows(std::int64_t row0, std::int64_t row1) const;

 private:
  at::Tensor token_mask_;  // Bool [B, T]
  at::Tensor pair_mask_;   // Bool [B, S, T] or undefined
};

}  // namespace sparity::ops
