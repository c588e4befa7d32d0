#pragma once

#include "src/core/dtype.h"
#include "suites/judge/grouped_selection.h"
#include "suites/judge/selection.h"
#include "suites/judge/top_k.h"
#include "suites/selftest/judge_samples.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace sparity::judge::samples {

inline constexpr double kMasked = -std::numeric_limits<double>::infinity();

/// The exact choice of every row, −1 as tail.
inline Tensor chosen_of(const Tensor& scores, std::int64_t k) {
  Tensor indices{.dtype = core::Dtype::kI64, .shape = scores.shape, .values = {}};
  indices.shape.back() = std::min(k, scores.shape.back());
  for (std::size_t row = 0; row < scores.rows(); ++row) {
    std::vector<std::int64_t> best = top_k(scores.row(row), k);
    best.resize(static_cast<std::size_t>(indices.shape.back()), -1);
    indices.values.insert(indices.values.end(), best.begin(), best.end());
  }
  return indices;
}

/// A causal indexer: scores of all sides and the exact choice of each.
struct Indexer {
  static constexpr std::int64_t kK = 8;
  Tensor truth, baseline, candidate, baseline_indices, indices;

  explicit Indexer(std::uint64_t seed = 1, core::Dtype dtype = core::Dtype::kBF16)
      : truth(random_truth({2, 24, 24}, seed)),
        baseline(honest(truth, dtype, seed + 1000)),
        candidate(honest(truth, dtype, seed + 2000)) {
    for (Tensor* scores : {&truth, &baseline, &candidate}) {
      for (std::size_t row = 0; row < 48; ++row) {
        for (std::size_t key = row % 24 + 1; key < 24; ++key) {
          scores->values[row * 24 + key] = kMasked;
        }
      }
    }
    choose();
  }

  void choose() {
    baseline_indices = chosen_of(baseline, kK);
    indices = chosen_of(candidate, kK);
  }

  SelectionResult judge(TiePolicy ties = TiePolicy::kLowIndex) const {
    return compare_selection({.tensor = "topk", .k = kK, .ties = ties},
                             {.scores = &candidate, .indices = &indices},
                             {.scores = &baseline, .indices = &baseline_indices}, truth);
  }
};

/// A router of 12 experts in 4 groups, 2 groups and 3 experts chosen.
struct Router {
  GroupedClaim claim{.tensor = "gate.topk_indices", .groups = 4, .kept_groups = 2, .k = 3};
  Tensor truth, baseline, candidate, indices;

  explicit Router(std::uint64_t seed = 1, core::Dtype dtype = core::Dtype::kBF16)
      : truth(random_truth({64, 12}, seed)),
        baseline(honest(truth, dtype, seed + 1000)),
        candidate(honest(truth, dtype, seed + 2000)),
        indices(choose(candidate)) {}

  Tensor choose(const Tensor& scores) const {
    const Tensor groups = chosen_of(group_scores(scores, 4), 2);
    Tensor masked = scores;
    for (std::size_t i = 0; i < masked.values.size(); ++i) {
      const auto kept = groups.row(i / 12);
      if (std::ranges::find(kept, static_cast<double>(i % 12 / 3)) == kept.end()) {
        masked.values[i] = kMasked;
      }
    }
    return chosen_of(masked, 3);
  }

  GroupedResult judge() const {
    return compare_grouped_selection(claim, {.scores = &candidate, .indices = &indices},
                                     {.scores = &baseline, .indices = nullptr}, truth);
  }
};

}  // namespace sparity::judge::samples
