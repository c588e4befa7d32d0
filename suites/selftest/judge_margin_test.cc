// S4 where a row's scores are few or share an error: what an honest choice may flip, and what no
// error of scores explains.

#include "suites/judge/grouped_selection.h"
#include "suites/judge/selection.h"
#include "suites/judge/top_k.h"
#include "suites/selftest/judge_samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace sparity::judge {
namespace {

using core::Dtype;
using samples::failed;
using samples::gate_named;
using samples::Gaussian;

Tensor best_of(const Tensor& scores, std::int64_t k) {
  Tensor indices{.dtype = Dtype::kI64, .shape = scores.shape, .values = {}};
  indices.shape.back() = std::min(k, scores.shape.back());
  for (std::size_t row = 0; row < scores.rows(); ++row) {
    const std::vector<std::int64_t> best = top_k(scores.row(row), k);
    indices.values.insert(indices.values.end(), best.begin(), best.end());
  }
  return indices;
}

/// Scores <x, w_j> of vectors whose stored form is off by a rounding of its own: the errors of a
/// row share the vector's.
struct Scores {
  static constexpr std::int64_t kDepth = 24;
  std::vector<double> x, w;
  Tensor truth, baseline, candidate;

  Scores(std::int64_t rows, std::int64_t width, std::uint64_t seed) {
    Gaussian gaussian(seed);
    for (auto& [values, count] :
         std::vector<std::pair<std::vector<double>*, std::int64_t>>{{&x, rows}, {&w, width}}) {
      values->resize(static_cast<std::size_t>(count * kDepth));
      std::ranges::generate(*values, std::ref(gaussian));
    }
    truth = scored(rows, width, 0, gaussian);
    truth.dtype = Dtype::kF64;
    baseline = scored(rows, width, 0x1p-8, gaussian);
    candidate = scored(rows, width, 0x1p-8, gaussian);
  }

  Tensor scored(std::int64_t rows, std::int64_t width, double noise, Gaussian& gaussian) const {
    Tensor scores{.dtype = Dtype::kF32, .shape = {rows, width}, .values = {}};
    std::vector<double> stored = x;
    for (double& value : stored) {
      value *= 1 + noise * gaussian();
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = 0; column < width; ++column) {
        const double score =
            std::inner_product(stored.begin() + row * kDepth, stored.begin() + (row + 1) * kDepth,
                               w.begin() + column * kDepth, 0.0);
        scores.values.push_back(noise > 0 ? rounded(score, Dtype::kF32) : score);
      }
    }
    return scores;
  }

  SelectionResult judge(std::int64_t k, std::optional<std::int64_t> samples = std::nullopt) const {
    const Tensor indices = best_of(candidate, k);
    return compare_selection({.tensor = "topk", .k = k, .samples = samples},
                             {.scores = &candidate, .indices = &indices},
                             {.scores = &baseline, .indices = nullptr}, truth);
  }
};

TEST(Margin, HonestChoicesAmongFewRaiseNoAlarm) {
  std::int64_t flips = 0;
  int alarms = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const SelectionResult result = Scores(90, 4, seed).judge(2);
    flips += result.summary.flips;
    alarms += failed(result.comparison, "S4") ? 1 : 0;
  }
  EXPECT_GT(flips, 500) << "S4 was not exercised";
  // 15 with the row's own maximum alone.
  EXPECT_LE(alarms, 4);
}

TEST(Margin, ALuckyBaselineRowIsJudgedByTheOthers) {
  // The two best scores of row 0 are closer than a typical error; the baseline has them exactly.
  Scores scores(60, 12, 3);
  const std::vector<std::int64_t> best = top_k(scores.truth.row(0), 2);
  const auto first = static_cast<std::size_t>(best[0]);
  const auto second = static_cast<std::size_t>(best[1]);
  scores.truth.values[first] = rounded(scores.truth.values[first], Dtype::kF32);
  for (std::size_t i = 0; i < 12; ++i) {
    scores.truth.values[i] = rounded(scores.truth.values[i], Dtype::kF32);
    scores.baseline.values[i] = scores.candidate.values[i] = scores.truth.values[i];
  }
  const auto swap_within = [&](double gap) {
    scores.truth.values[second] = scores.truth.values[first] - gap;
    scores.baseline.values[second] = scores.truth.values[second];
    scores.candidate.values[second] = scores.truth.values[first] + gap;
    return scores.judge(1).summary.worst_margin;
  };
  EXPECT_LE(swap_within(0x1p-9), 3);
  EXPECT_GT(swap_within(0.5), 3);
}

TEST(Margin, WrongScoresAreNotExplainedByFewTokens) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Scores scores(60, 40, seed);
    for (double& value : scores.candidate.values) {
      value = -value;
    }
    EXPECT_GT(scores.judge(8).summary.worst_margin, 100) << "sign, seed " << seed;
    EXPECT_TRUE(failed(scores.judge(8, 13).comparison, "S4"));
    scores = Scores(60, 40, seed);
    std::ranges::rotate(scores.candidate.values, scores.candidate.values.begin() + 40);
    EXPECT_GT(scores.judge(8).summary.worst_margin, 100) << "position, seed " << seed;
    scores = Scores(60, 40, seed);
    std::ranges::transform(scores.candidate.values, scores.candidate.values.begin(),
                           [](double value) { return std::max(value, 0.0); });
    EXPECT_TRUE(failed(scores.judge(30).comparison, "S4")) << "clipped, seed " << seed;
  }
}

TEST(Margin, FewTokensWidenTheMarginAndSaySo) {
  const SelectionResult result = Scores(5, 40, 1).judge(8, 5);
  EXPECT_GT(gate_named(result.comparison, "S4")->rhs, 3);
  EXPECT_EQ(gate_named(result.comparison, "S4")->rhs, result.summary.allowed_margin);
  EXPECT_EQ(gate_named(Scores(90, 40, 1).judge(8, 90).comparison, "S4")->rhs, 3);
}

}  // namespace
}  // namespace sparity::judge
