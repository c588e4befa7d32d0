#include "src/ops/top_k.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/ops/parallel.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

namespace sparity::ops {

namespace {

/// Scores that are compared with the threshold at once.
constexpr std::int64_t kBlock = 16;
/// Candidates at hand, in multiples of k, before all but the best are dropped.
constexpr std::int64_t kSpare = 4;
/// So many are sorted by comparing each with each.
constexpr std::int64_t kPlacedEach = 128;

/// Unsigned numbers in the order of the scores: −0 as +0, NaN above all.
template <typename W>
[[gnu::always_inline]] inline auto ordered(W score) {
  using Bits = std::conditional_t<std::is_same_v<W, float>, std::uint32_t, std::uint64_t>;
  constexpr Bits kSign = Bits{1} << (8 * sizeof(Bits) - 1);
  const Bits bits = std::bit_cast<Bits>(score + W(0));
  const Bits rank = (bits & kSign) != 0 ? ~bits : bits | kSign;
  return std::isnan(score) ? std::numeric_limits<Bits>::max() : rank;
}

template <typename Ranked, typename W>
[[gnu::always_inline]] inline Ranked ranked(W score, std::int64_t place) {
  using Bits = decltype(ordered(score));
  const Bits order = ordered(score);
  return Ranked{order} << (8 * sizeof(Bits)) | static_cast<Bits>(~place);
}

/// Appends to `out` what is open and not at most `threshold`, from place `t` on, until `room` are
/// there; may append kBlock − 1 more. Returns the place where it stopped.
template <typename W, typename Ranked>
[[gnu::always_inline]] inline std::int64_t gather(const W* scores, const bool* open, std::int64_t t,
                                                  std::int64_t columns, W threshold,
                                                  std::int64_t room, Ranked* out,
                                                  std::int64_t& count) {
  for (; t < columns && count < room; t += kBlock) {
    const std::int64_t width = std::min(kBlock, columns - t);
    if (width == kBlock) {
      int above = 0;
      for (std::int64_t i = 0; i < kBlock; ++i) {
        above |= static_cast<int>(!(scores[t + i] <= threshold));
      }
      if (above == 0) {
        continue;
      }
    }
    for (std::int64_t i = t; i < t + width; ++i) {
      out[count] = ranked<Ranked>(scores[i], i);
      count += static_cast<int>(open[i]) & static_cast<int>(!(scores[i] <= threshold));
    }
  }
  return std::min(t, columns);
}

[[gnu::target_clones("avx512f", "avx2", "default"), gnu::optimize("O3")]] std::int64_t candidates(
    const float* scores, const bool* open, std::int64_t t, std::int64_t columns, float threshold,
    std::int64_t room, std::uint64_t* out, std::int64_t& count) {
  return gather(scores, open, t, columns, threshold, room, out, count);
}

std::int64_t candidates(const double* scores, const bool* open, std::int64_t t,
                        std::int64_t columns, double threshold, std::int64_t room,
                        unsigned __int128* out, std::int64_t& count) {
  return gather(scores, open, t, columns, threshold, room, out, count);
}

/// A number that exactly k of the n different ones reach. By bisection: its loop has no branches to
/// mispredict, so it is faster than a partition of a few hundred.
template <typename Ranked>
[[gnu::always_inline]] inline Ranked bisect(const Ranked* all, std::int64_t n, std::int64_t k) {
  const auto [least, most] = std::minmax_element(all, all + n);
  Ranked low = *least;  // reached by more than k
  Ranked high = *most;  // by fewer, or by one
  while (true) {
    const Ranked middle = low + (high - low) / 2 + (high - low) % 2;
    std::int64_t reached = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      reached += static_cast<std::int64_t>(all[i] >= middle);
    }
    if (reached == k) {
      return middle;
    }
    (reached > k ? low : high) = middle;
  }
}

/// Descending order of n different numbers: each goes to the place that counts the larger ones.
template <typename Ranked>
[[gnu::always_inline]] inline void place(const Ranked* all, std::int64_t n, Ranked* sorted) {
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t larger = 0;
    for (std::int64_t j = 0; j < n; ++j) {
      larger += static_cast<std::int64_t>(all[j] > all[i]);
    }
    sorted[larger] = all[i];
  }
}

[[gnu::target_clones("avx512f", "avx2", "default"), gnu::optimize("O3")]] std::uint64_t cut_at(
    const std::uint64_t* all, std::int64_t n, std::int64_t k) {
  return bisect(all, n, k);
}
unsigned __int128 cut_at(const unsigned __int128* all, std::int64_t n, std::int64_t k) {
  return bisect(all, n, k);
}

[[gnu::target_clones("avx512f", "avx2", "default"), gnu::optimize("O3")]] void place_each(
    const std::uint64_t* all, std::int64_t n, std::uint64_t* sorted) {
  place(all, n, sorted);
}
void place_each(const unsigned __int128* all, std::int64_t n, unsigned __int128* sorted) {
  place(all, n, sorted);
}

/// F117: the k best, of equal ones the later.
template <typename W>
void select_last_of_equals(const W* scores, const bool* open, std::int64_t columns, std::int64_t k,
                           std::int64_t* out) {
  std::vector<std::int64_t> places;
  for (std::int64_t t = columns - 1; t >= 0; --t) {
    if (open[t]) {
      places.push_back(t);
    }
  }
  std::ranges::stable_sort(places, std::greater<>(), [=](std::int64_t t) { return scores[t]; });
  places.resize(static_cast<std::size_t>(k), -1);
  std::ranges::copy(places, out);
}

}  // namespace

template <typename W>
TopK<W>::TopK(std::int64_t k)
    : k_(k),
      candidates_(static_cast<std::size_t>(kSpare * k + kBlock)),
      sorted_(static_cast<std::size_t>(k)) {}

template <typename W>
std::int64_t TopK<W>::place_of(Ranked ranked) {
  return static_cast<std::int64_t>(~static_cast<decltype(ordered(W(0)))>(ranked));
}

/// Keeps the k best of more than k candidates; returns the worst of them.
template <typename W>
std::int64_t TopK<W>::keep_best(std::int64_t count) {
  const Ranked cut = cut_at(candidates_.data(), count, k_);
  const auto end = std::remove_if(candidates_.begin(), candidates_.begin() + count,
                                  [cut](Ranked r) { return r < cut; });
  return place_of(*std::min_element(candidates_.begin(), end));
}

/// One pass. Once k are known, only a better score than the worst of them can enter: an equal one
/// comes later, and the earlier place wins.
template <typename W>
void TopK<W>::select(const W* scores, const bool* open, std::int64_t columns, std::int64_t* out) {
  if (core::planted(core::Fault::kF117TiesToHigherIndex)) {
    select_last_of_equals(scores, open, columns, k_, out);
    return;
  }
  W threshold = std::numeric_limits<W>::quiet_NaN();  // nothing is at most this
  std::int64_t count = 0;
  std::int64_t t = 0;
  do {
    t = candidates(scores, open, t, columns, threshold, kSpare * k_, candidates_.data(), count);
    if (count > k_) {
      threshold = scores[keep_best(count)];
      count = k_;
    }
  } while (t < columns);
  if (count <= kPlacedEach) {
    place_each(candidates_.data(), count, sorted_.data());
  } else {
    std::partial_sort_copy(candidates_.begin(), candidates_.begin() + count, sorted_.begin(),
                           sorted_.end(), std::greater<>());
  }
  std::transform(sorted_.begin(), sorted_.begin() + count, out, place_of);
  std::fill(out + count, out + k_, -1);
}

template class TopK<float>;
template class TopK<double>;

at::Tensor top_k(const at::Tensor& scores, const at::Tensor& open, std::int64_t k) {
  constexpr std::int64_t kRows = 64;
  const std::int64_t rows = scores.size(0);
  const std::int64_t columns = scores.size(1);
  const std::int64_t width = std::min(k, columns);
  at::Tensor indices = at::empty({rows, width}, at::kLong);
  const at::Tensor scores_in = scores.contiguous();
  const at::Tensor open_in = open.contiguous();
  dispatch_wide(scores.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    const W* score = scores_in.const_data_ptr<W>();
    const bool* is_open = open_in.const_data_ptr<bool>();
    auto* out = indices.mutable_data_ptr<std::int64_t>();
    for_each_item(
        (rows + kRows - 1) / kRows, [=] { return TopK<W>(width); },
        [=](TopK<W>& best, std::int64_t item) {
          for (std::int64_t r = item * kRows; r < std::min((item + 1) * kRows, rows); ++r) {
            best.select(score + r * columns, is_open + r * columns, columns, out + r * width);
          }
        });
  });
  return indices;
}

}  // namespace sparity::ops
