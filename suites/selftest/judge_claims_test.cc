// What each gate allows, and the claims that are judged otherwise: other shapes and dtypes,
// float64, exact ones, integers, no baseline.

#include "src/core/dtype.h"
#include "suites/judge/gates.h"
#include "suites/selftest/judge_samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace sparity::judge {
namespace {

using core::Dtype;
using samples::failed;
using samples::gate_named;
using samples::kQuietNan;
using samples::Trio;

/// Errors of the candidate are `factor` times the baseline's, in a float64-like dtype of roundoff
/// u.
Comparison scaled_errors(double factor) {
  Trio trio({32, 32}, Dtype::kF32);
  for (std::size_t i = 0; i < trio.truth.values.size(); ++i) {
    const double error = (i % 2 == 0 ? 1 : -1) * 1e-3;
    trio.baseline.values[i] = rounded(trio.truth.values[i] + error, Dtype::kF32);
    trio.candidate.values[i] = rounded(trio.truth.values[i] + factor * error, Dtype::kF32);
  }
  return trio.judge({.tensor = "x", .reduction_length = 1'000'000});
}

TEST(Comparator, C4TheGlobalGateOpensAtOneAndAHalfTimesTheBaseline) {
  EXPECT_TRUE(scaled_errors(1.49).passed());
  const Comparison judged = scaled_errors(1.51);
  EXPECT_TRUE(failed(judged, "G1"));
  EXPECT_FALSE(failed(judged, "G2") || failed(judged, "G3"));
}

/// One row of the candidate errs by `factor` times what each row of the baseline errs.
Comparison one_bad_row(double factor, Direction direction) {
  Trio trio({512, 32}, Dtype::kF32);
  trio.truth.values.assign(trio.truth.values.size(), 1.0 + 0x1p-40);
  for (std::size_t i = 0; i < trio.truth.values.size(); ++i) {
    trio.baseline.values[i] = 1 + 0x1p-10;
    trio.candidate.values[i] = i / 32 == 7 ? rounded(1 + factor * 0x1p-10, Dtype::kF32) : 1.0;
  }
  return trio.judge({.tensor = "x", .direction = direction, .reduction_length = 1'000'000});
}

TEST(Comparator, C4TheRowGateOpensAtThreeTimesForwardAndTenBackward) {
  EXPECT_TRUE(one_bad_row(2.95, Direction::kForward).passed());
  EXPECT_TRUE(failed(one_bad_row(3.05, Direction::kForward), "G2"));
  EXPECT_FALSE(failed(one_bad_row(3.05, Direction::kForward), "G1"));
  EXPECT_TRUE(one_bad_row(9.9, Direction::kBackward).passed());
  EXPECT_TRUE(failed(one_bad_row(10.1, Direction::kBackward), "G2"));
  EXPECT_TRUE(failed(one_bad_row(10.1, Direction::kBackward), "G3"));
}

TEST(Comparator, WeightGradientsAreJudgedByColumnToo) {
  Trio trio({64, 64}, Dtype::kF32);
  for (std::size_t row = 0; row < 64; ++row) {
    samples::set(trio.candidate, row * 64 + 5, trio.truth.values[row * 64 + 5] * (1 + 2e-6));
  }
  EXPECT_EQ(gate_named(trio.judge(), "G2c"), nullptr);
  const Comparison judged = trio.judge({.tensor = "x", .both_axes = true});
  ASSERT_NE(gate_named(judged, "G2c"), nullptr);
  EXPECT_TRUE(failed(judged, "G2c"));
  EXPECT_EQ(gate_named(judged, "G2c")->note, "worst column 5");
}

TEST(Comparator, C6ATruncatedTensorFails) {
  Trio trio({4, 16});
  trio.candidate.shape = {3, 16};
  trio.candidate.values.resize(48);
  EXPECT_TRUE(failed(trio.judge(), "G0"));
}

TEST(Comparator, SameCountOfAnotherShapeFails) {
  Trio trio({4, 16});
  trio.candidate.shape = {16, 4};
  EXPECT_TRUE(failed(trio.judge(), "G0"));
}

TEST(Comparator, AnotherDtypeThanTheBaselinesFails) {
  Trio trio;
  trio.candidate.dtype = Dtype::kF32;
  EXPECT_TRUE(failed(trio.judge(), "G0"));
  Trio expected;
  EXPECT_TRUE(failed(expected.judge({.tensor = "x", .expected_dtype = Dtype::kF32}), "G0"));
}

TEST(Comparator, ABrokenBaselineIsFoundWhateverTheCandidate) {
  Trio trio;
  for (double& value : trio.baseline.values) {
    value = rounded(-value, Dtype::kBF16);
  }
  EXPECT_TRUE(failed(trio.judge(), "baseline"));
  Trio nan;
  nan.baseline.values[0] = kQuietNan;
  EXPECT_TRUE(failed(nan.judge(), "baseline"));
  EXPECT_FALSE(nan.judge().passed());
}

TEST(Comparator, ScoresOfACoarserComputationAreJudgedByItsRoundoff) {
  Trio trio({8, 32}, Dtype::kBF16);
  trio.candidate.dtype = trio.baseline.dtype = Dtype::kF32;
  EXPECT_TRUE(failed(trio.judge(), "baseline"));
  EXPECT_TRUE(trio.judge({.tensor = "x", .computed_in = Dtype::kBF16}).passed());
}

TEST(Comparator, Float64IsBoundByItsReductionLengthAndReadsNoBaseline) {
  Trio trio({8, 32}, Dtype::kF64);
  const Comparison judged = trio.judge({.tensor = "x", .reduction_length = 4});
  EXPECT_TRUE(judged.passed());
  EXPECT_EQ(gate_named(judged, "G1"), nullptr);
  EXPECT_NEAR(gate_named(judged, "bound")->rhs, 64 * 2 * 0x1p-53 * judged.rms_truth, 1e-25);
  trio.candidate.values[9] += 1e-11;
  const Comparison wrong = trio.judge({.tensor = "x", .reduction_length = 4});
  EXPECT_TRUE(failed(wrong, "bound"));
  ASSERT_EQ(wrong.worst.size(), 1U);
  EXPECT_EQ(wrong.worst[0].index, (std::vector<std::int64_t>{0, 9}));
}

TEST(Comparator, ExactClaimsDemandEveryBit) {
  Trio trio({4, 4}, Dtype::kF32);
  trio.candidate = trio.baseline;
  const TensorClaim claim{.tensor = "x", .exact = true};
  EXPECT_TRUE(trio.judge(claim).passed());
  trio.candidate.values[3] = std::nextafter(static_cast<float>(trio.candidate.values[3]), 9.0F);
  EXPECT_TRUE(failed(trio.judge(claim), "exact"));
  trio.candidate = trio.baseline;
  trio.candidate.values[0] = 0.0;
  trio.baseline.values[0] = -0.0;
  trio.truth.values[0] = 0.0;
  EXPECT_TRUE(failed(trio.judge(claim), "exact"));
}

TEST(Comparator, ExactClaimsWithoutABaselineDemandTheTruthRoundedOnce) {
  Trio trio({4, 4}, Dtype::kBF16);
  trio.candidate = trio.truth;
  trio.candidate.dtype = Dtype::kBF16;
  for (double& value : trio.candidate.values) {
    value = rounded(value, Dtype::kBF16);
  }
  const TensorClaim claim{.tensor = "x", .exact = true};
  EXPECT_TRUE(compare(claim, trio.candidate, nullptr, trio.truth).passed());
  trio.candidate.values[0] += core::ulp(trio.candidate.values[0], Dtype::kBF16);
  EXPECT_TRUE(failed(compare(claim, trio.candidate, nullptr, trio.truth), "exact"));
}

TEST(Comparator, IntegersAreExactWithoutBeingTold) {
  const Tensor truth{.dtype = Dtype::kI64, .shape = {3}, .values = {1, 2, 3}};
  Tensor candidate = truth;
  EXPECT_TRUE(compare({.tensor = "x"}, candidate, nullptr, truth).passed());
  candidate.values[1] = 5;
  EXPECT_TRUE(failed(compare({.tensor = "x"}, candidate, nullptr, truth), "exact"));
}

TEST(Comparator, WithoutABaselineEveryRatioGateSaysWhichWeakerRuleItUsed) {
  Trio trio;
  const Comparison judged = compare({.tensor = "x"}, trio.candidate, nullptr, trio.truth);
  EXPECT_TRUE(judged.passed());
  for (const char* gate : {"G1", "G2", "G3"}) {
    EXPECT_NE(gate_named(judged, gate)->note.find("no baseline: judged by the weaker rule"),
              std::string::npos);
  }
  std::fill_n(trio.candidate.values.begin(), 16, 0.0);
  EXPECT_TRUE(failed(compare({.tensor = "x"}, trio.candidate, nullptr, trio.truth), "G2"));
}

TEST(Comparator, ATruthOfZerosDemandsZeros) {
  Trio trio({8, 16});
  for (Tensor* tensor : {&trio.truth, &trio.baseline, &trio.candidate}) {
    std::ranges::fill(tensor->values, 0.0);
  }
  EXPECT_TRUE(trio.judge().passed());
  trio.candidate.values[3] = 0x1p-100;
  EXPECT_FALSE(trio.judge().passed());
}

TEST(Comparator, BiasIsReportedAndDoesNotBlock) {
  Trio trio({64, 64}, Dtype::kF32);
  for (std::size_t i = 0; i < trio.truth.values.size(); ++i) {
    samples::set(trio.candidate, i, trio.truth.values[i] * (1 + 1.2e-7));
  }
  const Comparison judged = trio.judge();
  EXPECT_TRUE(failed(judged, "G4"));
  EXPECT_TRUE(judged.passed());
}

}  // namespace
}  // namespace sparity::judge
