#include "suites/judge/top_k.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace sparity::judge {

namespace {

constexpr double kMasked = -std::numeric_limits<double>::infinity();

}  // namespace

std::vector<std::int64_t> top_k(std::span<const double> scores, std::int64_t k) {
  std::vector<std::int64_t> order;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] != kMasked) {
      order.push_back(static_cast<std::int64_t>(i));
    }
  }
  std::ranges::stable_sort(order, [&](std::int64_t a, std::int64_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(std::min(order.size(), static_cast<std::size_t>(std::max<std::int64_t>(k, 0))));
  return order;
}

std::int64_t valid_count(std::span<const double> scores) {
  return std::ranges::count_if(scores, [](double score) { return score != kMasked; });
}

}  // namespace sparity::judge
