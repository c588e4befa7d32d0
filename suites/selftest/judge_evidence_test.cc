// What a failing comparison tells: worst elements by violation, buckets, error map.

#include "src/core/dtype.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/gates.h"
#include "suites/judge/tolerances.h"
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
using samples::Trio;

TEST(Evidence, TheWorstElementIsTheWorstViolationAndNotTheLargestError) {
  Trio trio({64, 64}, Dtype::kF32);
  // A large element within tolerance has a larger error than a small one outside it.
  trio.truth.values[10] = 1000 + 0x1p-30;
  trio.baseline.values[10] = trio.candidate.values[10] = 1000 + 0x1p-13;  // 2 ulp
  samples::set(trio.candidate, 70, trio.truth.values[70] + 1e-4);
  const Comparison judged = trio.judge();
  EXPECT_FALSE(samples::failed(judged, "G1"));
  EXPECT_TRUE(samples::failed(judged, "G3"));
  ASSERT_EQ(judged.worst.size(), 1U);
  EXPECT_EQ(judged.worst[0].index, (std::vector<std::int64_t>{1, 6}));
  EXPECT_EQ(judged.worst[0].candidate, trio.candidate.values[70]);
  EXPECT_EQ(judged.worst[0].baseline, trio.baseline.values[70]);
  EXPECT_EQ(judged.worst[0].truth, trio.truth.values[70]);
}

TEST(Evidence, NoElementWithinToleranceIsEverNamed) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Trio trio({16, 16}, Dtype::kBF16, seed);
    for (double& value : trio.candidate.values) {
      value = rounded(value * 1.02, Dtype::kBF16);
    }
    const Comparison judged = trio.judge();
    ASSERT_FALSE(judged.passed());
    ASSERT_FALSE(judged.worst.empty());
    EXPECT_LE(judged.worst.size(), 5U);
    for (const WorstElement& element : judged.worst) {
      EXPECT_GT(element.share, 1);
    }
    EXPECT_TRUE(std::ranges::is_sorted(judged.worst, std::ranges::greater(), &WorstElement::share));
  }
}

TEST(Evidence, UlpsCountSpacingsOfTheStoredDtype) {
  Trio trio({64, 64}, Dtype::kBF16);
  trio.truth.values[0] = 1;
  trio.baseline.values[0] = 1;
  trio.candidate.values[0] = 1 + 80 * 0x1p-7;
  const Comparison judged = trio.judge();
  ASSERT_FALSE(judged.worst.empty());
  EXPECT_EQ(judged.worst[0].index, (std::vector<std::int64_t>{0, 0}));
  EXPECT_EQ(judged.worst[0].ulps, 80);
}

TEST(Evidence, BucketsCoverEveryFiniteElementOnce) {
  Trio trio({32, 32}, Dtype::kF32);
  trio.truth.values[0] = trio.baseline.values[0] = trio.candidate.values[0] = 0;
  trio.truth.values[1] = 1e-30;
  trio.baseline.values[1] = trio.candidate.values[1] = rounded(1e-30, Dtype::kF32);
  trio.candidate.values[2] += 100;
  trio.candidate.values[2] = rounded(trio.candidate.values[2], Dtype::kF32);
  const Comparison judged = trio.judge();
  std::int64_t count = 0;
  for (const MagnitudeBucket& bucket : judged.buckets) {
    EXPECT_LT(bucket.from, bucket.to);
    EXPECT_GT(bucket.count, 0);
    count += bucket.count;
  }
  EXPECT_EQ(count, 1024);
  EXPECT_LE(judged.buckets.size(), 11U);
  EXPECT_EQ(judged.buckets.front().from, 0);
}

TEST(Evidence, TheMapIsBinnedAndPointsAtTheFault) {
  Trio trio({200, 100}, Dtype::kF32);
  samples::set(trio.candidate, 150 * 100 + 25, trio.truth.values[150 * 100 + 25] + 1);
  const Comparison judged = trio.judge();
  ASSERT_TRUE(judged.error_map.has_value());
  EXPECT_EQ(judged.error_map->rows, 64);
  EXPECT_EQ(judged.error_map->columns, 64);
  const auto& cells = judged.error_map->cells;
  ASSERT_EQ(cells.size(), 64U * 64U);
  const auto worst = std::ranges::max_element(cells) - cells.begin();
  EXPECT_EQ(worst / 64, 150 * 64 / 200);
  EXPECT_EQ(worst % 64, 25 * 64 / 100);
  EXPECT_EQ(std::ranges::count_if(cells, [](double cell) { return cell > 1; }), 1);
}

TEST(ErrorStats, SumsAreCompensated) {
  CompensatedSum sum;
  sum.add(1);
  for (int i = 0; i < 1'000'000; ++i) {
    sum.add(0x1p-54);
  }
  sum.add(-1);
  EXPECT_EQ(sum.value(), 1'000'000 * 0x1p-54);
}

TEST(ErrorStats, RmsNeitherOverflowsNorUnderflows) {
  EXPECT_DOUBLE_EQ(rms(std::vector<double>{3e300, 4e300}) / 1e300, std::sqrt(12.5));
  EXPECT_DOUBLE_EQ(rms(std::vector<double>{3e-300, 4e-300}) * 1e300, std::sqrt(12.5));
  EXPECT_EQ(rms(std::vector<double>{}), 0);
}

TEST(ErrorStats, MeasuresAgreeWithHandComputedFigures) {
  const Tensor truth{.dtype = Dtype::kF64, .shape = {2, 2}, .values = {3, 4, 0, -12}};
  const Tensor x{.dtype = Dtype::kF64, .shape = {2, 2}, .values = {3, 5, 0, -14}};
  const ErrorStats stats = measure(x, truth, true);
  const double rho = 6.5;  // √((9+16+0+144)/4)
  EXPECT_DOUBLE_EQ(stats.rms_truth, rho);
  EXPECT_DOUBLE_EQ(stats.rms_error, std::sqrt(5.0 / 4));
  EXPECT_DOUBLE_EQ(stats.slope, 28.0 / 169);
  EXPECT_DOUBLE_EQ(stats.effective_cells, 169.0 * 169 / (81 + 256 + 20736));
  EXPECT_DOUBLE_EQ(stats.calc_diff, 5.0 / (169 + 230));
  EXPECT_NEAR(stats.calc_diff, 1 - 2 * 197.0 / (169 + 230), 1e-15);
  EXPECT_DOUBLE_EQ(stats.cosine, 197 / std::sqrt(169.0 * 230));
  EXPECT_DOUBLE_EQ(stats.max_element, std::max(1 / (4 + rho), 2 / (12 + rho)));
  EXPECT_DOUBLE_EQ(stats.max_row, std::sqrt(2.0) / (std::sqrt(72.0) + rho));
  EXPECT_DOUBLE_EQ(stats.max_column, std::sqrt(2.5) / (std::sqrt(80.0) + rho));
  EXPECT_EQ(stats.worst_row, 1U);
  EXPECT_EQ(stats.worst_column, 1U);
  EXPECT_EQ(stats.count, 4);
}

TEST(Tensor, RoundsOnceToNearestEven) {
  EXPECT_EQ(rounded(1 + 0x1p-8, Dtype::kBF16), 1);
  EXPECT_EQ(rounded(1 + 3 * 0x1p-8, Dtype::kBF16), 1 + 0x1p-6);
  EXPECT_EQ(rounded(1 + 0x1p-8 + 0x1p-40, Dtype::kBF16), 1 + 0x1p-7);
  EXPECT_EQ(rounded(65519.99, Dtype::kF16), 65504);
  EXPECT_EQ(rounded(65520, Dtype::kF16), std::numeric_limits<double>::infinity());
  EXPECT_EQ(rounded(-3.4e38, Dtype::kBF16), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(rounded(0x1p-24, Dtype::kF16), 0x1p-24);
  EXPECT_EQ(rounded(0x1p-26, Dtype::kF16), 0);
  EXPECT_TRUE(std::signbit(rounded(-0.0, Dtype::kBF16)));
  EXPECT_FALSE(representable(1 + 0x1p-8, Dtype::kBF16));
  EXPECT_FALSE(representable(2, Dtype::kBool));
}

TEST(Tensor, KeepsTheBlocksThatAreFlagged) {
  const Tensor tensor{.dtype = Dtype::kF32, .shape = {2, 2, 2}, .values = {0, 1, 2, 3, 4, 5, 6, 7}};
  const Tensor kept = keep_blocks(tensor, {true, false, false, true});
  EXPECT_EQ(kept.shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(kept.values, (std::vector<double>{0, 1, 6, 7}));
  EXPECT_THROW(keep_blocks(tensor, {true, false, true}), std::runtime_error);
}

}  // namespace
}  // namespace sparity::judge
