#pragma once

#include <cstdint>

namespace sparity::ops {

/// mean(a) over n numbers, in W.
template <typename W>
W mean_of(const W* a, std::int64_t n) {
  W sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    sum += a[i];
  }
  return sum / static_cast<W>(n);
}

/// mean(a · b) over n numbers, in W.
template <typename W>
W mean_of_products(const W* a, const W* b, std::int64_t n) {
  W sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    sum += a[i] * b[i];
  }
  return sum / static_cast<W>(n);
}

}  // namespace sparity::ops
