#include "src/ops/row_product.h"

#include "src/ops/register_block.h"

namespace sparity::ops {

namespace {

template <typename W>
struct Operands {
  const W* const* a;
  std::int64_t step;
  const W* const* b;
  W* const* out;
  std::int64_t rows;
  std::int64_t terms;
  bool add;
};

/// kRows rows from `row` on, of kVectors vectors of columns from `column` on.
template <int kBytes, int kRows, int kVectors, typename W>
[[gnu::always_inline]] inline void block(const Operands<W>& of, std::int64_t row,
                                         std::int64_t column) {
  RegisterBlock<W, kBytes, kRows, kVectors> product;
  product.compute(of.a + row, of.step, of.b, column, of.terms);
  for (int m = 0; m < kRows; ++m) {
    for (int v = 0; v < kVectors; ++v) {
      auto* out =
          reinterpret_cast<Vector<W, kBytes>*>(of.out[row + m] + column + v * kLanes<W, kBytes>);
      *out = of.add ? *out + product.sums[m][v] : product.sums[m][v];
    }
  }
}

/// As many of these columns as fit before `end`; returns where it stopped.
template <int kBytes, int kRows, int kVectors, typename W>
[[gnu::always_inline]] inline std::int64_t columns_of(const Operands<W>& of, std::int64_t column,
                                                      std::int64_t end) {
  constexpr std::int64_t kWidth = kVectors * kLanes<W, kBytes>;
  for (; column + kWidth <= end; column += kWidth) {
    std::int64_t row = 0;
    for (; row + kRows <= of.rows; row += kRows) {
      block<kBytes, kRows, kVectors>(of, row, column);
    }
    for (; row < of.rows; ++row) {
      block<kBytes, 1, kVectors>(of, row, column);
    }
  }
  return column;
}

template <typename W>
[[gnu::always_inline]] inline void product(const Operands<W>& of, std::int64_t columns) {
  std::int64_t column = columns_of<64, 4, 4>(of, 0, columns);
  column = columns_of<64, 8, 2>(of, column, columns);
  column = columns_of<64, 8, 1>(of, column, columns);
  columns_of<32, 8, 1>(of, column, columns);
}

}  // namespace

[[gnu::target_clones("avx512f", "fma", "default"), gnu::optimize("O3")]] void row_product(
    const float* const* a, std::int64_t step, const float* const* b, float* const* out,
    std::int64_t rows, std::int64_t terms, std::int64_t columns, bool add) {
  product<float>({a, step, b, out, rows, terms, add}, columns);
}

[[gnu::target_clones("avx512f", "fma", "default"), gnu::optimize("O3")]] void row_product(
    const double* const* a, std::int64_t step, const double* const* b, double* const* out,
    std::int64_t rows, std::int64_t terms, std::int64_t columns, bool add) {
  product<double>({a, step, b, out, rows, terms, add}, columns);
}

}  // namespace sparity::ops
