#pragma once

#include <cstdint>

namespace sparity::ops {

/// Numbers that one instruction works on; processors with narrower registers take several for one.
/// May lie at any address.
template <typename W, int kBytes>
using Vector [[gnu::vector_size(kBytes), gnu::aligned(sizeof(W)), gnu::may_alias]] = W;

/// How many of them a vector holds.
template <typename W, int kBytes>
constexpr std::int64_t kLanes = kBytes / static_cast<std::int64_t>(sizeof(W));

/// kRows × kVectors sums held in registers: sums[m][v] = Σ_k a[m][k · step] · b[k][v]. The rows of
/// a and b may lie anywhere, which spares gathering them. To be inlined into functions that are
/// compiled for several processors (target_clones); some of them fuse multiply and add.
template <typename W, int kBytes, int kRows, int kVectors>
struct RegisterBlock {
  using Lane = Vector<W, kBytes>;
  Lane sums[kRows][kVectors];

  /// Vectors of b are read from `offset` in each row on.
  [[gnu::always_inline]] inline void compute(const W* const* a, std::int64_t step,
                                             const W* const* b, std::int64_t offset,
                                             std::int64_t terms) {
    for (int m = 0; m < kRows; ++m) {
      for (int v = 0; v < kVectors; ++v) {
        sums[m][v] = Lane{};
      }
    }
    for (std::int64_t k = 0; k < terms; ++k) {
      const W* row = b[k] + offset;
      Lane right[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        right[v] = *reinterpret_cast<const Lane*>(row + v * kLanes<W, kBytes>);
      }
      for (int m = 0; m < kRows; ++m) {
        const W left = a[m][k * step];
        for (int v = 0; v < kVectors; ++v) {
          sums[m][v] += left * right[v];
        }
      }
    }
  }
};

}  // namespace sparity::ops
