#include "reference/scalar/indexer.h"

#include "reference/scalar/linear.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace sparity::reference::scalar {

std::vector<double> hadamard(std::span<const double> x) {
  if (!std::has_single_bit(x.size())) {
    throw std::invalid_argument("hadamard: the length is not a power of two");
  }
  std::vector<double> y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double sum = 0.0;
    for (std::size_t j = 0; j < x.size(); ++j) {
      const bool negative = std::popcount(i & j) % 2 == 1;
      sum += negative ? -x[j] : x[j];
    }
    y.push_back(sum / std::sqrt(static_cast<double>(x.size())));
  }
  return y;
}

double index_score(std::span<const double> q, std::span<const double> k,
                   std::span<const double> w) {
  double score = 0.0;
  for (std::size_t head = 0; head < w.size(); ++head) {
    const double product = dot(q.subspan(head * k.size(), k.size()), k);
    score += w[head] * std::max(product, 0.0);
  }
  return score;
}

std::vector<std::int64_t> topk_indices(std::span<const double> scores, std::size_t k) {
  constexpr double kMasked = -std::numeric_limits<double>::infinity();
  std::vector<bool> taken(scores.size(), false);
  std::vector<std::int64_t> selected;
  for (std::size_t rank = 0; rank < std::min(k, scores.size()); ++rank) {
    std::size_t best = scores.size();
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const bool free = !taken[i] && scores[i] != kMasked;
      if (free && (best == scores.size() || scores[i] > scores[best])) {
        best = i;
      }
    }
    if (best == scores.size()) {
      selected.push_back(-1);
      continue;
    }
    taken[best] = true;
    selected.push_back(static_cast<std::int64_t>(best));
  }
  return selected;
}

}  // namespace sparity::reference::scalar
