#include "suites/judge/selection_rows.h"

#include "suites/judge/top_k.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>

namespace sparity::judge {

namespace {

double score_of(std::span<const double> scores, std::int64_t index) {
  return scores[static_cast<std::size_t>(index)];
}

/// Swaps among keys that equal the k-th score: any of them is right.
std::int64_t swaps_of_equals(std::span<const double> truth, const RowFlips& flips,
                             double boundary) {
  const auto at_boundary = [&](std::int64_t index) { return score_of(truth, index) == boundary; };
  return std::min(std::ranges::count_if(flips.given_up, at_boundary),
                  std::ranges::count_if(flips.taken, at_boundary));
}

/// The best k of own scores under kLowIndex, position by position, −1 as tail.
bool is_own_top_k_in_order(std::span<const double> scores, std::span<const double> chosen,
                           std::int64_t k) {
  std::vector<std::int64_t> expected = top_k(scores, k);
  expected.resize(chosen.size(), -1);
  return std::ranges::equal(chosen, expected, [](double found, std::int64_t wanted) {
    return found == static_cast<double>(wanted);
  });
}

/// Under kAny: as many as there are, and nothing left out scores above anything chosen.
bool is_own_top_k_as_set(std::span<const double> scores, std::span<const double> chosen,
                         std::int64_t k) {
  std::set<std::size_t> found;
  for (const double index : chosen) {
    if (in_range(index, scores.size())) {
      found.insert(static_cast<std::size_t>(index));
    }
  }
  double lowest_chosen = kInfinity;
  double highest_left = -kInfinity;
  for (std::size_t key = 0; key < scores.size(); ++key) {
    if (found.contains(key)) {
      lowest_chosen = std::min(lowest_chosen, scores[key]);
    } else {
      highest_left = std::max(highest_left, scores[key]);
    }
  }
  const auto wanted = static_cast<std::size_t>(std::min(k, valid_count(scores)));
  return found.size() == wanted && (found.empty() || lowest_chosen > -kInfinity) &&
         lowest_chosen >= highest_left;
}

}  // namespace

bool in_range(double index, std::size_t size) {
  return index >= 0 && index < static_cast<double>(size) && std::nearbyint(index) == index;
}

bool is_own_top_k(std::span<const double> scores, std::span<const double> chosen, std::int64_t k,
                  TiePolicy ties) {
  if (std::ranges::any_of(scores, [](double score) { return std::isnan(score); })) {
    return false;
  }
  return ties == TiePolicy::kLowIndex ? is_own_top_k_in_order(scores, chosen, k)
                                      : is_own_top_k_as_set(scores, chosen, k);
}

bool is_valid(std::span<const double> truth, std::span<const double> chosen, std::int64_t k) {
  const auto wanted = static_cast<std::size_t>(std::min(k, valid_count(truth)));
  std::set<double> seen;
  for (std::size_t position = 0; position < chosen.size(); ++position) {
    const double index = chosen[position];
    if (position >= wanted) {
      if (index != -1) {
        return false;
      }
      continue;
    }
    if (!in_range(index, truth.size()) || truth[static_cast<std::size_t>(index)] == -kInfinity ||
        !seen.insert(index).second) {
      return false;
    }
  }
  return true;
}

RowFlips flips_of_row(std::span<const double> truth_scores, std::span<const double> chosen,
                      std::int64_t k, TiePolicy ties) {
  const std::vector<std::int64_t> ranked = top_k(truth_scores, k);
  const std::set<std::int64_t> right(ranked.begin(), ranked.end());
  std::set<std::int64_t> found;
  for (const double index : chosen) {
    if (in_range(index, truth_scores.size())) {
      found.insert(static_cast<std::int64_t>(index));
    }
  }
  RowFlips flips;
  std::ranges::set_difference(right, found, std::back_inserter(flips.given_up));
  std::ranges::set_difference(found, right, std::back_inserter(flips.taken));
  flips.count = static_cast<std::int64_t>(flips.given_up.size());
  if (flips.given_up.empty() || flips.taken.empty()) {
    return flips;
  }
  const auto by_score = [&](std::int64_t index) { return score_of(truth_scores, index); };
  // Both are finite unless a masked key was taken: its −inf makes the margin infinite.
  flips.margin = by_score(*std::ranges::max_element(flips.given_up, {}, by_score)) -
                 by_score(*std::ranges::min_element(flips.taken, {}, by_score));
  if (ties == TiePolicy::kAny) {
    flips.count -= swaps_of_equals(truth_scores, flips, by_score(ranked.back()));
  }
  return flips;
}

}  // namespace sparity::judge
