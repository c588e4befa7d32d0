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

/// Errors of the candidate are `factor` times the baseline's, as alternating signs.
Comparison scaled_errors(double factor, Dtype dtype, Direction direction = Direction::kForward) {
  const double error = 256 * core::unit_roundoff(dtype);
  Trio trio({32, 32}, dtype);
  trio.truth.values.assign(trio.truth.values.size(), 0.5 + 0x1p-45);
  for (std::size_t i = 0; i < trio.truth.values.size(); ++i) {
    const double sign = i % 2 == 0 ? 1 : -1;
    trio.baseline.values[i] = 0.5 + sign * error / 64;
    trio.candidate.values[i] = rounded(0.5 + sign * factor * error / 64, dtype);
  }
  return trio.judge({.tensor = "x", .direction = direction});
}

TEST(Comparator, C4TheGlobalGateOpensAtItsFactor) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16}) {
    for (const Direction direction : {Direction::kForward, Direction::kBackward}) {
      const double factor = factors(direction, dtype).global;
      EXPECT_TRUE(scaled_errors(0.75 * factor, dtype, direction).passed());
      EXPECT_TRUE(failed(scaled_errors(1.5 * factor, dtype, direction), "G1"));
    }
  }
}

TEST(Factors, AWiderDtypeAndAGradientAllowMoreAndNoOneLess) {
  const Factors values = factors(Direction::kForward, Dtype::kBF16);
  for (const Factors& other :
       {factors(Direction::kBackward, Dtype::kBF16), factors(Direction::kForward, Dtype::kF32)}) {
    EXPECT_GE(other.global, values.global);
    EXPECT_GE(other.worst, values.worst);
    EXPECT_GE(other.slope, values.slope);
    EXPECT_GE(other.median, values.median);
  }
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

TEST(Comparator, C4TheGatesOfTheWorstOpenAtTheirFactor) {
  for (const Direction direction : {Direction::kForward, Direction::kBackward}) {
    const double factor = factors(direction, Dtype::kF32).worst;
    EXPECT_TRUE(one_bad_row(0.95 * factor, direction).passed());
    EXPECT_TRUE(failed(one_bad_row(1.15 * factor, direction), "G2"));
    EXPECT_TRUE(failed(one_bad_row(1.15 * factor, direction), "G3"));
    EXPECT_FALSE(failed(one_bad_row(1.15 * factor, direction), "G1"));
  }
}

/// The baseline was lucky; others of its kind show what honest runs err by.
TEST(Comparator, TheWorstOfSeveralHonestRunsIsTheYardstick) {
  Trio trio({16, 16}, Dtype::kF32);
  for (std::size_t i = 0; i < trio.truth.values.size(); ++i) {
    samples::set(trio.baseline, i, trio.truth.values[i]);
  }
  for (std::size_t i = 0; i < trio.truth.values.size(); ++i) {
    samples::set(trio.candidate, i, trio.truth.values[i] + (i % 2 == 0 ? 3e-5 : -3e-5));
  }
  EXPECT_FALSE(trio.judge().passed());
  Tensor other = trio.candidate;
  std::ranges::rotate(other.values, other.values.begin() + 1);
  for (std::size_t i = 0; i < other.values.size(); ++i) {
    samples::set(other, i, trio.truth.values[i] + (i % 2 == 0 ? -2e-5 : 2e-5));
  }
  const std::vector<Tensor> further = {other};
  EXPECT_TRUE(
      compare({.tensor = "x"}, trio.candidate, &trio.baseline, trio.truth, further).passed());
}

TEST(Comparator, ACommonFactorWithinTheRoundingIsFound) {
  Trio trio({64, 64}, Dtype::kBF16);
  for (std::size_t i = 0; i < trio.truth.values.size(); ++i) {
    samples::set(trio.candidate, i, trio.candidate.values[i] * 1.015);
  }
  const Comparison judged = trio.judge();
  EXPECT_TRUE(failed(judged, "G4"));
  EXPECT_FALSE(judged.passed());
}

TEST(Comparator, AMassiveRowHidesNoneOfTheOthers) {
  Trio trio({64, 64}, Dtype::kBF16);
  for (Tensor* tensor : {&trio.truth, &trio.baseline, &trio.candidate}) {
    for (std::size_t i = 0; i < 64; ++i) {
      samples::set(*tensor, i, std::ldexp(tensor->values[i], 20));
    }
  }
  EXPECT_TRUE(trio.judge().passed());
  for (std::size_t i = 64; i < trio.truth.values.size(); ++i) {
    samples::set(trio.candidate, i, 0.5 * trio.candidate.values[i]);
  }
  const Comparison judged = trio.judge();
  EXPECT_FALSE(failed(judged, "G1") || failed(judged, "G2") || failed(judged, "G3"));
  EXPECT_TRUE(failed(judged, "G5"));
}

/// Whatever its share of the tensor.
TEST(Comparator, ARowOrColumnOfZerosIsFound) {
  Trio rows({64, 64}, Dtype::kBF16);
  Trio columns({64, 64}, Dtype::kBF16);
  for (std::size_t i = 0; i < 64; ++i) {
    for (Tensor* tensor : {&rows.truth, &rows.baseline, &rows.candidate}) {
      samples::set(*tensor, 5 * 64 + i, 0x1p-20 * tensor->values[5 * 64 + i]);
    }
    for (Tensor* tensor : {&columns.truth, &columns.baseline, &columns.candidate}) {
      samples::set(*tensor, i * 64 + 5, 0x1p-20 * tensor->values[i * 64 + 5]);
    }
  }
  EXPECT_TRUE(rows.judge().passed() && columns.judge().passed());
  for (std::size_t i = 0; i < 64; ++i) {
    rows.candidate.values[5 * 64 + i] = 0;
    columns.candidate.values[i * 64 + 5] = 0;
  }
  EXPECT_TRUE(failed(rows.judge(), "lost"));
  EXPECT_FALSE(failed(rows.judge(), "G2"));
  EXPECT_TRUE(failed(columns.judge(), "lost columns"));
  for (std::size_t i = 0; i < 64; ++i) {
    rows.baseline.values[5 * 64 + i] = 0;  // honest arithmetic loses it too
  }
  EXPECT_TRUE(rows.judge().passed());
}

/// A model that this dtype cannot compute is nobody's fault; ours can be computed.
TEST(Comparator, AnIllConditionedTensorOfAnybodysModelIsUndecided) {
  Trio trio({32, 32}, Dtype::kBF16);
  for (std::size_t i = 0; i < trio.truth.values.size(); ++i) {
    samples::set(trio.baseline, i, trio.truth.values[i] + (i % 2 == 0 ? 1.5 : -1.5));
    samples::set(trio.candidate, i, trio.truth.values[i] + (i % 3 == 0 ? 20 : -20));
  }
  const Comparison ours = trio.judge({.tensor = "x", .conditioned = true});
  EXPECT_TRUE(failed(ours, "baseline"));
  const Comparison anybodys = trio.judge({.tensor = "x", .conditioned = false});
  EXPECT_TRUE(anybodys.passed());
  EXPECT_NE(anybodys.undecided.find("ill-conditioned"), std::string::npos);
  trio.candidate.values[3] = samples::kQuietNan;
  EXPECT_FALSE(trio.judge({.tensor = "x", .conditioned = false}).passed());
}

/// A product at ReLU's kink has the other sign in the baseline: as much as the slack says.
TEST(Comparator, SlackWidensTheBoundOfTheBaseline) {
  Trio trio({64}, Dtype::kF32);
  samples::set(trio.baseline, 7, trio.truth.values[7] + 1e-2);
  EXPECT_TRUE(failed(trio.judge(), "baseline"));
  EXPECT_FALSE(failed(trio.judge({.tensor = "x", .slack = 2e-3}), "baseline"));
}

TEST(Comparator, WeightGradientsAreJudgedByColumnToo) {
  Trio trio({64, 64}, Dtype::kF32);
  for (std::size_t row = 0; row < 64; ++row) {
    samples::set(trio.candidate, row * 64 + 5, trio.truth.values[row * 64 + 5] * (1 + 8e-6));
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

}  // namespace
}  // namespace sparity::judge
