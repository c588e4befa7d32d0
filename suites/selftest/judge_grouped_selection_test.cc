// Hierarchical choices: groups first, then experts within them; hole H14 of other harnesses.

#include "src/core/dtype.h"
#include "src/core/error.h"
#include "suites/judge/grouped_selection.h"
#include "suites/selftest/judge_samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace sparity::judge {
namespace {

using core::Dtype;
using samples::chosen_of;
using samples::failed;

constexpr double kMasked = -std::numeric_limits<double>::infinity();

/// A router of 12 experts in 4 groups, 2 groups and 3 experts chosen.
struct Router {
  GroupedClaim claim{.tensor = "gate.topk_indices", .groups = 4, .kept_groups = 2, .k = 3};
  Tensor truth, baseline, candidate, indices;

  explicit Router(std::uint64_t seed = 1, Dtype dtype = Dtype::kBF16)
      : truth(samples::random_truth({64, 12}, seed)),
        baseline(samples::honest(truth, dtype, seed + 1000)),
        candidate(samples::honest(truth, dtype, seed + 2000)),
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

TEST(GroupedSelection, HonestRoutersRaiseNoAlarmInTwoHundredSeeds) {
  std::int64_t group_flips = 0;
  std::int64_t expert_flips = 0;
  for (const Dtype dtype : {Dtype::kBF16, Dtype::kF32}) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      const GroupedResult result = Router(seed, dtype).judge();
      EXPECT_TRUE(result.groups.comparison.passed()) << seed;
      EXPECT_TRUE(result.experts.comparison.passed()) << seed;
      group_flips += result.groups.summary.flips;
      expert_flips += result.experts.summary.flips;
    }
  }
  EXPECT_GT(group_flips, 20);
  EXPECT_GT(expert_flips, 20);
}

TEST(GroupedSelection, ChoosingWithoutGroupsFails) {
  Router router;
  router.indices = chosen_of(router.candidate, 3);
  const GroupedResult result = router.judge();
  EXPECT_TRUE(failed(result.experts.comparison, "S2"));
  EXPECT_TRUE(failed(result.experts.comparison, "S3"));
}

TEST(GroupedSelection, H14Rank4InsteadOf3Fails) {
  Router router;
  for (std::size_t row = 0; row < 64; ++row) {
    // Any other expert of the last one's group, whichever scores next.
    double& last = router.indices.values[row * 3 + 2];
    const double first_of_group = std::floor(last / 3) * 3;
    for (double expert = first_of_group; expert < first_of_group + 3; ++expert) {
      const auto chosen = router.indices.row(row);
      if (std::ranges::find(chosen, expert) == chosen.end()) {
        last = expert;
        break;
      }
    }
  }
  EXPECT_TRUE(failed(router.judge().experts.comparison, "S2"));
}

TEST(GroupedSelection, GroupScoreByMaximumInsteadOfTopTwoFails) {
  Router router;
  Tensor by_maximum{.dtype = router.candidate.dtype, .shape = {64, 4}, .values = {}};
  for (std::size_t i = 0; i < router.candidate.values.size(); i += 3) {
    by_maximum.values.push_back(
        *std::max_element(router.candidate.values.begin() + static_cast<std::ptrdiff_t>(i),
                          router.candidate.values.begin() + static_cast<std::ptrdiff_t>(i + 3)));
  }
  const Tensor groups = chosen_of(by_maximum, 2);
  Tensor masked = router.candidate;
  for (std::size_t i = 0; i < masked.values.size(); ++i) {
    const auto kept = groups.row(i / 12);
    if (std::ranges::find(kept, static_cast<double>(i % 12 / 3)) == kept.end()) {
      masked.values[i] = kMasked;
    }
  }
  router.indices = chosen_of(masked, 3);
  EXPECT_FALSE(router.judge().experts.comparison.passed());
}

TEST(GroupedSelection, WrongScoresFailTheGroupMargins) {
  Router router;
  router.candidate = samples::honest(samples::random_truth({64, 12}, 77), Dtype::kBF16, 3);
  router.indices = router.choose(router.candidate);
  EXPECT_TRUE(failed(router.judge().groups.comparison, "S4"));
}

TEST(GroupedSelection, ANanScoreFails) {
  Router router;
  router.candidate.values[5] = samples::kQuietNan;
  EXPECT_TRUE(failed(router.judge().experts.comparison, "S2"));
}

TEST(GroupedSelection, GroupScoresAddTheTwoBestAndRoundOnce) {
  const Tensor scores{.dtype = Dtype::kBF16, .shape = {1, 4}, .values = {1, 0x1p-9, -3, -5}};
  const Tensor groups = group_scores(scores, 2);
  EXPECT_EQ(groups.values, (std::vector<double>{1, -8}));
  EXPECT_THROW(group_scores(scores, 3), core::Error);
  EXPECT_THROW(group_scores(scores, 4), core::Error);
}

}  // namespace
}  // namespace sparity::judge
