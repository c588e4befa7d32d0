#pragma once

#include <cstdint>

namespace sparity::ops {

/// Steps of a softmax down the columns of x [n, columns], columns a multiple of `kColumnStep`; the
/// exponential between them is the caller's. W is float or double.
template <typename W>
struct ColumnSoftmax {
  W* x;
  std::int64_t n;
  std::int64_t columns;

  /// x = x · scale; shift = the largest of each column, 0 where that is infinite.
  void scale_and_find_shift(W scale, W* shift) const;
  /// x = x · scale.
  void scale_by(W scale) const;
  /// x = x − shift.
  void subtract(const W* shift) const;
  /// With x the exponentials: sum = Σ x, and x = x / sum; columns of zeros stay so.
  void normalise(W* sum) const;
  /// With x = dP, the gradient of probabilities p: x = p · (x − Σ p · x) · scale; the sum counts
  /// `delta` times, once but for a planted fault.
  void backward(const W* p, W scale, W delta) const;
};

}  // namespace sparity::ops
