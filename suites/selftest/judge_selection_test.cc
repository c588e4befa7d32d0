// Selections: S2, S3, S4, ties and forced choices; holes H14 and H15 of other harnesses.

#include "src/core/dtype.h"
#include "src/core/error.h"
#include "suites/judge/selection.h"
#include "suites/judge/top_k.h"
#include "suites/selftest/judge_samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace sparity::judge {
namespace {

using core::Dtype;
using samples::chosen_of;
using samples::failed;
using samples::gate_named;

constexpr double kMasked = -std::numeric_limits<double>::infinity();

/// A causal indexer: scores of all sides and the exact choice of each.
struct Indexer {
  static constexpr std::int64_t kK = 8;
  Tensor truth, baseline, candidate, baseline_indices, indices;

  explicit Indexer(std::uint64_t seed = 1, Dtype dtype = Dtype::kBF16)
      : truth(samples::random_truth({2, 24, 24}, seed)),
        baseline(samples::honest(truth, dtype, seed + 1000)),
        candidate(samples::honest(truth, dtype, seed + 2000)) {
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

TEST(TopK, OrdersByScoreThenIndexAndTakesMinusZeroForZero) {
  const std::vector<double> scores{0.0, 3, -0.0, kMasked, 3, -1};
  EXPECT_EQ(top_k(scores, 4), (std::vector<std::int64_t>{1, 4, 0, 2}));
  EXPECT_EQ(top_k(scores, 9), (std::vector<std::int64_t>{1, 4, 0, 2, 5}));
  EXPECT_EQ(valid_count(scores), 5);
}

TEST(Selection, HonestScoresRaiseNoAlarmInTwoHundredSeeds) {
  std::int64_t flips = 0;
  for (const Dtype dtype : {Dtype::kBF16, Dtype::kF32}) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      const SelectionResult result = Indexer(seed, dtype).judge();
      EXPECT_TRUE(result.comparison.passed())
          << seed << " " << result.comparison.first_failed()->name << " "
          << result.comparison.first_failed()->note;
      flips += result.summary.flips;
    }
  }
  EXPECT_GT(flips, 40) << "S4 was not exercised";
}

TEST(Selection, H15RankKReplacedByKPlusOneInEveryRowFailsOwnExactness) {
  Indexer sample;
  for (std::size_t row = 0; row < 48; ++row) {
    const std::vector<std::int64_t> best = top_k(sample.candidate.row(row), Indexer::kK + 1);
    if (best.size() == Indexer::kK + 1) {
      sample.indices.values[row * Indexer::kK + Indexer::kK - 1] = static_cast<double>(best.back());
    }
  }
  EXPECT_TRUE(failed(sample.judge().comparison, "S2"));
  EXPECT_TRUE(failed(sample.judge(TiePolicy::kAny).comparison, "S2"));
  EXPECT_FALSE(sample.judge().comparison.worst.empty());
}

TEST(Selection, S2OrderCountsUnderLowIndexAndNotUnderAny) {
  Indexer sample;
  std::swap(sample.indices.values[40 * Indexer::kK], sample.indices.values[40 * Indexer::kK + 1]);
  EXPECT_TRUE(failed(sample.judge().comparison, "S2"));
  EXPECT_FALSE(failed(sample.judge(TiePolicy::kAny).comparison, "S2"));
}

TEST(Selection, S2ANanScoreIsAnError) {
  Indexer sample;
  sample.candidate.values[47 * 24 + 2] = samples::kQuietNan;
  EXPECT_TRUE(failed(sample.judge().comparison, "S2"));
  EXPECT_TRUE(failed(sample.judge(TiePolicy::kAny).comparison, "S2"));
}

TEST(Selection, S3OneFutureTokenFails) {
  Indexer sample;
  // Row 10 sees keys 0 … 10; the candidate scores key 11 highest and chooses it.
  sample.candidate.values[10 * 24 + 11] = 100;
  sample.choose();
  const Comparison judged = sample.judge().comparison;
  EXPECT_FALSE(failed(judged, "S2"));
  EXPECT_TRUE(failed(judged, "S3"));
  EXPECT_TRUE(failed(judged, "S4"));
}

TEST(Selection, S3RepeatsGapsAndStrayNumbersFail) {
  for (const double wrong : {-1.0, -2.0, 24.0, 0.5, samples::kQuietNan}) {
    Indexer sample;
    sample.indices.values[30 * Indexer::kK + 3] = wrong;
    EXPECT_TRUE(failed(sample.judge().comparison, "S3")) << wrong;
  }
  Indexer repeated;
  repeated.indices.values[30 * Indexer::kK + 3] = repeated.indices.values[30 * Indexer::kK + 4];
  EXPECT_TRUE(failed(repeated.judge().comparison, "S3"));
  Indexer tail;  // row 2 has three keys: position 5 is tail
  tail.indices.values[2 * Indexer::kK + 5] = 0;
  EXPECT_TRUE(failed(tail.judge().comparison, "S3"));
}

TEST(Selection, H14AMarginIsMeasuredInTheBaselinesErrorAndNeverTheCandidates) {
  Indexer sample;
  // Scores so wrong that their own error would explain any flip.
  const Tensor other = samples::random_truth({2, 24, 24}, 99);
  for (std::size_t i = 0; i < sample.candidate.values.size(); ++i) {
    if (sample.candidate.values[i] != kMasked) {
      samples::set(sample.candidate, i, other.values[i]);
    }
  }
  sample.choose();
  const SelectionResult result = sample.judge();
  EXPECT_FALSE(failed(result.comparison, "S2"));
  EXPECT_TRUE(failed(result.comparison, "S4"));
  EXPECT_TRUE(failed(result.comparison, "S4 rate"));
  EXPECT_GT(result.summary.worst_margin, 20);
}

/// One row of distinct scores in which the candidate exchanges the ranks k and k+1.
SelectionResult exchanged_ranks(double gap, double baseline_error) {
  Tensor truth{.dtype = Dtype::kF64, .shape = {1, 4}, .values = {4, 2 + gap, 2, 1}};
  Tensor baseline = truth;
  baseline.dtype = Dtype::kF32;
  baseline.values[3] += baseline_error;
  Tensor candidate = baseline;
  std::swap(candidate.values[1], candidate.values[2]);
  const Tensor indices = chosen_of(candidate, 2);
  return compare_selection({.tensor = "topk", .k = 2}, {.scores = &candidate, .indices = &indices},
                           {.scores = &baseline, .indices = nullptr}, truth);
}

TEST(Selection, C4AFlipIsExplainedUpToThreeEpsilonAndNoFurther) {
  EXPECT_FALSE(failed(exchanged_ranks(0x1.7cp-9, 0x1p-10).comparison, "S4"));  // 2.97 ε
  EXPECT_TRUE(failed(exchanged_ranks(0x1.84p-9, 0x1p-10).comparison, "S4"));   // 3.03 ε
  EXPECT_FALSE(exchanged_ranks(0x1p-10, 0x1p-10).flip_free[0]);
  EXPECT_TRUE(exchanged_ranks(0x1.7cp-9, 0x1p-10).comparison.worst.empty());
  const Comparison unexplained = exchanged_ranks(0x1.84p-9, 0x1p-10).comparison;
  ASSERT_EQ(unexplained.worst.size(), 1U);
  EXPECT_EQ(unexplained.worst[0].index, (std::vector<std::int64_t>{0, 2}));  // the key taken
  EXPECT_NEAR(unexplained.worst[0].share, 3.03125 / 3, 1e-12);
  EXPECT_NEAR(unexplained.worst[0].ulps, 0x1.84p-9 / 0x1p-22, 1);  // of float32 at 2
}

TEST(Selection, EpsilonIsAtLeastOneUlpAtTheBoundary) {
  EXPECT_FALSE(failed(exchanged_ranks(2 * 0x1p-22, 0).comparison, "S4"));  // 2 ulp of 2.0 in f32
  EXPECT_TRUE(failed(exchanged_ranks(4 * 0x1p-22, 0).comparison, "S4"));
}

TEST(Selection, TheRateAllowsThreeTimesTheBaselinesFlipsAndTheNoiseOfACount) {
  EXPECT_EQ(flip_allowance(0), 7);
  EXPECT_EQ(flip_allowance(8), 3 * 8 + 1 + 6 * 3);
  EXPECT_LT(flip_allowance(1'000'000), 3.01 * 1'000'000);
}

TEST(Selection, ExplainedFlipsOutOfProportionFailTheRate) {
  // Pairs of neighbours 2 ε apart: the baseline keeps their order, the candidate flips every one.
  Tensor truth{.dtype = Dtype::kF64, .shape = {16, 3}, .values = {}};
  for (int row = 0; row < 16; ++row) {
    truth.values.insert(truth.values.end(), {2 + 0x1p-9, 2, 1});
  }
  Tensor baseline = truth;
  baseline.dtype = Dtype::kF32;
  for (std::size_t row = 0; row < 16; ++row) {
    baseline.values[row * 3 + 2] += 0x1p-10;
  }
  Tensor candidate = baseline;
  const auto judge = [&](std::size_t flipped) {
    for (std::size_t row = 0; row < flipped; ++row) {
      candidate.values[row * 3] = 2 - 0x1p-12;
    }
    const Tensor indices = chosen_of(candidate, 1);
    return compare_selection({.tensor = "topk", .k = 1},
                             {.scores = &candidate, .indices = &indices},
                             {.scores = &baseline, .indices = nullptr}, truth)
        .comparison;
  };
  EXPECT_TRUE(judge(7).passed());
  const Comparison judged = judge(8);
  EXPECT_FALSE(failed(judged, "S4"));
  EXPECT_TRUE(failed(judged, "S4 rate"));
}

TEST(Selection, ExactTiesFollowTheLowIndexPolicyBitExactly) {
  const Tensor truth{.dtype = Dtype::kF64, .shape = {1, 6}, .values = {1, 2, 1, 1, -0.0, 0.0}};
  Tensor baseline = truth;
  baseline.dtype = Dtype::kF32;
  Tensor candidate = baseline;
  Tensor indices{.dtype = Dtype::kI64, .shape = {1, 3}, .values = {1, 0, 2}};
  const auto judge = [&](TiePolicy ties) {
    return compare_selection({.tensor = "topk", .k = 3, .ties = ties},
                             {.scores = &candidate, .indices = &indices},
                             {.scores = &baseline, .indices = nullptr}, truth);
  };
  EXPECT_TRUE(judge(TiePolicy::kLowIndex).comparison.passed());
  EXPECT_EQ(judge(TiePolicy::kLowIndex).summary.tied_rows, 1);
  indices.values = {1, 3, 0};
  EXPECT_TRUE(failed(judge(TiePolicy::kLowIndex).comparison, "S2"));
  const SelectionResult foreign = judge(TiePolicy::kAny);
  EXPECT_TRUE(foreign.comparison.passed());
  EXPECT_EQ(foreign.summary.flips, 0);
  EXPECT_TRUE(foreign.flip_free[0]);
}

TEST(Selection, C6MissingColumnsFailAndC11NothingToChooseIsNoPass) {
  Indexer sample;
  sample.indices.shape = {2, 24, 4};
  sample.indices.values.resize(2 * 24 * 4);
  EXPECT_TRUE(failed(sample.judge().comparison, "G0"));
  Indexer empty;
  for (Tensor* scores : {&empty.truth, &empty.baseline, &empty.candidate}) {
    std::ranges::fill(scores->values, kMasked);
  }
  empty.choose();
  EXPECT_TRUE(failed(empty.judge().comparison, "truth"));
}

TEST(Selection, AMaskThatTheBaselineDoesNotShareIsAFaultOfTheHarness) {
  Indexer sample;
  sample.baseline.values[23] = 1;
  EXPECT_TRUE(failed(sample.judge().comparison, "baseline"));
}

TEST(Selection, ASideComparedWithItselfIsRefused) {
  const Indexer sample;
  EXPECT_THROW(compare_selection({.tensor = "topk", .k = 8},
                                 {.scores = &sample.baseline, .indices = &sample.indices},
                                 {.scores = &sample.baseline, .indices = nullptr}, sample.truth),
               core::Error);
}

TEST(Selection, FlipFreeRowsAreThoseThatChoseTheTruthsSet) {
  Indexer sample;
  const SelectionResult result = sample.judge();
  const auto free_rows = std::ranges::count(result.flip_free, true);
  EXPECT_EQ(48 - free_rows, result.summary.flipped_rows);
  EXPECT_TRUE(result.flip_free[5]);  // fewer keys than k: no choice
}

TEST(Selection, SwappedMassIsTheWeightGivenUp) {
  const Tensor truth{.dtype = Dtype::kF64, .shape = {1, 3}, .values = {3, 2, 1}};
  const Tensor weights{.dtype = Dtype::kF64, .shape = {1, 3}, .values = {0.5, 0.3, 0.2}};
  const Tensor right{.dtype = Dtype::kI64, .shape = {1, 2}, .values = {0, 1}};
  const Tensor wrong{.dtype = Dtype::kI64, .shape = {1, 2}, .values = {2, 1}};
  const Gate gate = swapped_mass_gate(
      {.tensor = "topk", .k = 2}, {.scores = nullptr, .indices = &wrong}, right, truth, weights);
  EXPECT_EQ(gate.lhs, 0.5);
  EXPECT_EQ(gate.rhs, 0.5);
  EXPECT_FALSE(gate.blocking);
}

}  // namespace
}  // namespace sparity::judge
