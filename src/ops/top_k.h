#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <type_traits>
#include <vector>

namespace sparity::ops {

/// The k best open entries of every row, exactly, by (score descending, index ascending); −0 equals
/// +0, NaN ranks above +inf (spec D-19). scores [rows, T] float32 or float64; open Bool [rows, T],
/// true = may be chosen. Returns I64 [rows, min(k, T)], −1 after a row's last open entry (D-17,
/// D-18).
at::Tensor top_k(const at::Tensor& scores, const at::Tensor& open, std::int64_t k);

/// The same for one row after another of float or double scores.
template <typename W>
class TopK {
 public:
  /// At least one.
  explicit TopK(std::int64_t k);

  /// Places of the best of `columns` open scores, to out[0, k).
  void select(const W* scores, const bool* open, std::int64_t columns, std::int64_t* out);

 private:
  /// A score above the complement of its place, so that the better of two is the larger number.
  using Ranked = std::conditional_t<std::is_same_v<W, float>, std::uint64_t, unsigned __int128>;

  static std::int64_t place_of(Ranked ranked);
  std::int64_t keep_best(std::int64_t count);

  std::int64_t k_;
  std::vector<Ranked> candidates_;
  std::vector<Ranked> sorted_;
};

}  // namespace sparity::ops
