#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sparity::judge {

/// Indices of the min(k, n) largest scores by (score descending, index ascending), n counting the
/// scores that are not −inf. −0 equals +0. A plain sort: the oracle of every selection check.
/// `scores` has no NaN.
std::vector<std::int64_t> top_k(std::span<const double> scores, std::int64_t k);

/// Number of scores that are not −inf.
std::int64_t valid_count(std::span<const double> scores);

}  // namespace sparity::judge
