#pragma once

#include "suites/judge/selection.h"

#include <cstdint>
#include <span>
#include <vector>

namespace sparity::judge {

/// How one row's choice differs from the truth's.
struct RowFlips {
  std::vector<std::int64_t> given_up;  // chosen by the truth only
  std::vector<std::int64_t> taken;     // chosen by the candidate only
  std::int64_t count = 0;              // given up, less swaps of exact equals under kAny
  /// Largest truth score given up − smallest truth score taken; 0 without both, infinite when a key
  /// that may not be chosen was taken.
  double margin = 0;
};

/// `chosen` holds indices into `truth_scores`; those out of range and repetitions are left out.
RowFlips flips_of_row(std::span<const double> truth_scores, std::span<const double> chosen,
                      std::int64_t k, TiePolicy ties);

/// S2: whether `chosen` is the exact top k of `scores` under the tie policy; false when a score is
/// NaN.
bool is_own_top_k(std::span<const double> scores, std::span<const double> chosen, std::int64_t k,
                  TiePolicy ties);

/// S3: unique keys whose truth score is not −inf, min(k, #valid) of them, then −1 to the end.
bool is_valid(std::span<const double> truth_scores, std::span<const double> chosen, std::int64_t k);

/// Whether `index` (a stored element) is an integer in [0, size).
bool in_range(double index, std::size_t size);

}  // namespace sparity::judge
