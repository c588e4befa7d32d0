#include "src/ops/column_softmax.h"

#include "src/ops/register_block.h"
#include "src/ops/row_product.h"

#include <cmath>
#include <limits>

namespace sparity::ops {

namespace {

constexpr int kBytes = 32;

template <typename W>
using Lane = Vector<W, kBytes>;

template <typename W>
Lane<W>& lane(W* at) {
  return *reinterpret_cast<Lane<W>*>(at);
}
template <typename W>
const Lane<W>& lane(const W* at) {
  return *reinterpret_cast<const Lane<W>*>(at);
}

/// Calls `body(c)` with the first column of every vector of columns.
template <typename W, typename Body>
void for_each_lane(std::int64_t columns, Body body) {
  static_assert(kColumnStep % kLanes<W, kBytes> == 0);
  for (std::int64_t c = 0; c < columns; c += kLanes<W, kBytes>) {
    body(c);
  }
}

}  // namespace

template <typename W>
void ColumnSoftmax<W>::scale_and_find_shift(W scale, W* shift) const {
  constexpr W kInfinity = std::numeric_limits<W>::infinity();
  for_each_lane<W>(columns, [&](std::int64_t c) {
    Lane<W> largest = Lane<W>{} - kInfinity;
    for (std::int64_t j = 0; j < n; ++j) {
      Lane<W>& cell = lane(x + j * columns + c);
      cell *= scale;
      largest = cell > largest ? cell : largest;
    }
    lane(shift + c) = largest < kInfinity && largest > -kInfinity ? largest : Lane<W>{};
  });
}

template <typename W>
void ColumnSoftmax<W>::scale_by(W scale) const {
  for_each_lane<W>(n * columns, [&](std::int64_t c) { lane(x + c) *= scale; });
}

template <typename W>
void ColumnSoftmax<W>::subtract(const W* shift) const {
  for_each_lane<W>(columns, [&](std::int64_t c) {
    for (std::int64_t j = 0; j < n; ++j) {
      lane(x + j * columns + c) -= lane(shift + c);
    }
  });
}

template <typename W>
void ColumnSoftmax<W>::normalise(W* sum) const {
  for_each_lane<W>(columns, [&](std::int64_t c) {
    Lane<W> total = {};
    for (std::int64_t j = 0; j < n; ++j) {
      total += lane(x + j * columns + c);
    }
    lane(sum + c) = total;
    const Lane<W> divisor = total == W(0) ? Lane<W>{} + W(1) : total;
    for (std::int64_t j = 0; j < n; ++j) {
      lane(x + j * columns + c) /= divisor;
    }
  });
}

template <typename W>
void ColumnSoftmax<W>::backward(const W* p, W scale, W delta) const {
  for_each_lane<W>(columns, [&](std::int64_t c) {
    Lane<W> sum = {};
    for (std::int64_t j = 0; j < n; ++j) {
      sum += lane(p + j * columns + c) * lane(x + j * columns + c);
    }
    sum *= delta;
    for (std::int64_t j = 0; j < n; ++j) {
      Lane<W>& cell = lane(x + j * columns + c);
      cell = lane(p + j * columns + c) * (cell - sum) * scale;
    }
  });
}

template struct ColumnSoftmax<float>;
template struct ColumnSoftmax<double>;

}  // namespace sparity::ops
