// The comparator against holes found in other harnesses (H1 … H22) and against mutants of itself
// (C1 … C17): verification specification, 0.1 and c.3. Each name says which, and what would go
// wrong.

#include "src/core/dtype.h"
#include "src/core/error.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/gates.h"
#include "suites/judge/start_check.h"
#include "suites/judge/tolerances.h"
#include "suites/selftest/judge_samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace sparity::judge {
namespace {

using core::Dtype;
using samples::failed;
using samples::gate_named;
using samples::kQuietNan;
using samples::Trio;

TEST(Gate, PassesOnlyWhenBothSidesAreFiniteAndOrdered) {
  EXPECT_TRUE(make_gate("g", 1, 1).ok);
  EXPECT_TRUE(make_gate("g", 0, 0).ok);
  EXPECT_FALSE(make_gate("g", 1.0000001, 1).ok);
  EXPECT_FALSE(make_gate("g", kQuietNan, 1).ok);
  EXPECT_FALSE(make_gate("g", 0, kQuietNan).ok);
  EXPECT_FALSE(make_gate("g", 0, kInfinity).ok);
  EXPECT_FALSE(make_gate("g", -kInfinity, 1).ok);
}

TEST(Gate, H13InfinityIsNotWithinInfinity) {
  EXPECT_FALSE(make_gate("g", kInfinity, kInfinity).ok);
}

TEST(Gate, HeadroomOfAFailureIsAboveOneEvenForNan) {
  EXPECT_EQ(make_gate("g", 0, 5).headroom(), 0);
  EXPECT_EQ(make_gate("g", 1, 4).headroom(), 0.25);
  EXPECT_EQ(make_gate("g", 3, 0).headroom(), kInfinity);
  EXPECT_EQ(make_gate("g", kQuietNan, 1).headroom(), kInfinity);
  EXPECT_EQ(make_gate("g", 0, kQuietNan).headroom(), kInfinity);
}

TEST(StartCheck, C17ThisBuildIsNotFastMath) { EXPECT_NO_THROW(start_check()); }

TEST(Comparator, HonestCandidatePassesInEveryDtype) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
    const Comparison judged = Trio({4, 8, 16}, dtype).judge();
    EXPECT_TRUE(judged.passed()) << core::to_string(dtype) << judged.first_failed()->name;
    EXPECT_TRUE(judged.worst.empty() && judged.buckets.empty() && !judged.error_map);
    for (const char* gate : {"truth", "baseline", "G0", "G1", "G2", "G3", "G4"}) {
      EXPECT_NE(gate_named(judged, gate), nullptr) << gate;
    }
  }
}

TEST(Comparator, H1C1NanInOneElementFails) {
  Trio trio;
  trio.candidate.values[37] = kQuietNan;
  EXPECT_TRUE(failed(trio.judge(), "G0"));
}

TEST(Comparator, H2NanInAScalarLossFails) {
  Trio trio(std::vector<std::int64_t>{});
  trio.candidate.values[0] = kQuietNan;
  EXPECT_FALSE(trio.judge().passed());
}

TEST(Comparator, H22NegativeNanFails) {
  Trio trio;
  trio.candidate.values[0] = -kQuietNan;
  EXPECT_FALSE(trio.judge().passed());
}

TEST(Comparator, H1NanInEverySideIsAFaultOfTheHarnessAndNoPass) {
  Trio trio;
  trio.candidate.values[5] = trio.baseline.values[5] = trio.truth.values[5] = kQuietNan;
  const Comparison judged = trio.judge();
  EXPECT_FALSE(judged.passed());
  EXPECT_TRUE(failed(judged, "truth"));
}

TEST(Comparator, H4FloorsComeFromTheUnitRoundoffOfTheDtype) {
  for (const auto& [dtype, u] : {std::pair{Dtype::kBF16, 0x1p-8}, std::pair{Dtype::kF16, 0x1p-11},
                                 std::pair{Dtype::kF32, 0x1p-24}}) {
    Trio trio(std::vector<std::int64_t>{}, dtype);
    trio.truth.values[0] = trio.baseline.values[0] = trio.candidate.values[0] = 1;
    const Comparison judged = trio.judge();
    const double accumulated = std::min(u, 0x1p-24);  // of a sum of one
    EXPECT_EQ(gate_named(judged, "G1")->rhs, 2 * u + accumulated);
    EXPECT_EQ(gate_named(judged, "G2")->rhs, u + accumulated);
    EXPECT_EQ(gate_named(judged, "G3")->rhs, u + accumulated);
  }
}

TEST(Comparator, H5NoToleranceIsAbsoluteAsScaleDoesNotMatter) {
  const Trio trio;
  const Comparison plain = trio.judge();
  for (const int exponent : {-90, 90}) {
    Trio scaled = trio;
    for (Tensor* tensor : {&scaled.truth, &scaled.baseline, &scaled.candidate}) {
      for (double& value : tensor->values) {
        value = std::ldexp(value, exponent);
      }
    }
    const Comparison judged = scaled.judge();
    ASSERT_EQ(judged.gates.size(), plain.gates.size());
    for (std::size_t i = 0; i < plain.gates.size(); ++i) {
      EXPECT_EQ(judged.gates[i].headroom(), plain.gates[i].headroom()) << plain.gates[i].name;
    }
  }
}

/// Scores with every fourth cell masked on all sides.
Trio masked_trio() {
  Trio trio({4, 16}, Dtype::kF32);
  for (Tensor* tensor : {&trio.truth, &trio.baseline, &trio.candidate}) {
    for (std::size_t i = 0; i < tensor->values.size(); i += 4) {
      tensor->values[i] = -kInfinity;
    }
  }
  return trio;
}

TEST(Comparator, MaskedCellsThatAgreeAreLeftOutOfTheStatistics) {
  const Comparison judged = masked_trio().judge();
  EXPECT_TRUE(judged.passed());
  EXPECT_TRUE(std::isfinite(judged.rms_truth));
}

TEST(Comparator, H6GarbageInAMaskedCellFails) {
  Trio trio = masked_trio();
  trio.candidate.values[4] = 123;
  EXPECT_TRUE(failed(trio.judge(), "G0"));
}

TEST(Comparator, H6MaskWhereTheTruthIsFiniteFails) {
  Trio trio = masked_trio();
  trio.candidate.values[5] = -kInfinity;
  EXPECT_TRUE(failed(trio.judge(), "G0"));
}

TEST(Comparator, H6SignOfInfinityMatters) {
  Trio trio = masked_trio();
  trio.candidate.values[4] = kInfinity;
  const Comparison judged = trio.judge();
  EXPECT_TRUE(failed(judged, "G0"));
  ASSERT_EQ(judged.worst.size(), 1U);
  EXPECT_EQ(judged.worst[0].index, (std::vector<std::int64_t>{0, 4}));
}

TEST(Comparator, H7PermutedTensorWithTheSameMeanFails) {
  Trio trio;
  std::ranges::reverse(trio.candidate.values);
  EXPECT_TRUE(failed(trio.judge(), "G1"));
}

TEST(Comparator, H11C7ErrorsBelowTheDtypesResolutionAreMeasuredInFloat64) {
  Trio trio({128}, Dtype::kBF16);
  for (std::size_t i = 0; i < 128; ++i) {
    trio.candidate.values[i] = trio.baseline.values[i] = 1;
    trio.truth.values[i] = 1 + 0x1p-45;
  }
  // In bfloat16 or float32 statistics truth and candidate are equal.
  const Comparison judged = trio.judge();
  EXPECT_NEAR(judged.rms_candidate_error, 0x1p-45, 0x1p-95);
  EXPECT_NEAR(judged.rms_baseline_error, 0x1p-45, 0x1p-95);
}

TEST(Comparator, H12C4EveryGateMustHoldElementFaultFailsG3Alone) {
  Trio trio({64, 64}, Dtype::kF32);
  samples::set(trio.candidate, 100, trio.truth.values[100] + 1.5e-5);
  const Comparison judged = trio.judge();
  EXPECT_FALSE(failed(judged, "G1"));
  EXPECT_TRUE(failed(judged, "G3"));
  EXPECT_FALSE(judged.passed());
}

TEST(Comparator, H12EveryGateMustHoldGlobalFaultFailsG1Alone) {
  Trio trio({64, 64}, Dtype::kBF16);
  for (double& value : trio.candidate.values) {
    value = rounded(value * (1 + 0x1.8p-6), Dtype::kBF16);
  }
  const Comparison judged = trio.judge();
  EXPECT_TRUE(failed(judged, "G1"));
  EXPECT_FALSE(judged.passed());
}

TEST(Comparator, H20NothingMeasuredIsNeverAPass) {
  EXPECT_TRUE(failed(Trio({0, 16}).judge(), "truth"));
  Trio masked({2, 2});
  for (Tensor* tensor : {&masked.truth, &masked.baseline, &masked.candidate}) {
    tensor->values.assign(4, -kInfinity);
  }
  EXPECT_TRUE(failed(masked.judge(), "truth"));
  EXPECT_FALSE(Comparison().passed());
}

TEST(Comparator, C2ATensorComparedWithItselfIsRefused) {
  const Trio trio;
  EXPECT_THROW(compare({.tensor = "x"}, trio.candidate, &trio.baseline, trio.candidate),
               core::Error);
  EXPECT_THROW(compare({.tensor = "x"}, trio.candidate, &trio.candidate, trio.truth), core::Error);
  EXPECT_THROW(compare({.tensor = "x"}, trio.candidate, &trio.truth, trio.truth), core::Error);
}

TEST(Comparator, C2TheTruthPassedAsCandidateHasNoValuesOfItsDtype) {
  Trio trio;
  trio.candidate.values = trio.truth.values;
  EXPECT_TRUE(failed(trio.judge(), "truth"));
  EXPECT_TRUE(failed(compare({.tensor = "x"}, trio.candidate, nullptr, trio.truth), "G0"));
}

TEST(Comparator, C16ATruthMadeFromTheCandidatesValuesIsFound) {
  Trio trio;
  trio.truth.values = trio.candidate.values;
  const Comparison judged = trio.judge();
  EXPECT_TRUE(failed(judged, "truth"));
  EXPECT_FALSE(judged.passed());
}

TEST(Comparator, C16ATruthInTheCandidatesOwnDtypeIsTooCoarse) {
  Trio trio;
  trio.truth = samples::honest(trio.truth, Dtype::kBF16, 3);
  EXPECT_TRUE(failed(trio.judge(), "truth"));
  trio.truth.dtype = Dtype::kF32;
  EXPECT_FALSE(failed(trio.judge(), "truth"));
}

TEST(Comparator, C3SwappedSidesWouldBlameTheWrongOne) {
  Trio trio;
  for (double& value : trio.candidate.values) {
    value = rounded(value * 1.1, Dtype::kBF16);
  }
  EXPECT_FALSE(trio.judge().passed());
  std::swap(trio.candidate, trio.baseline);
  const Comparison judged = trio.judge();
  EXPECT_FALSE(failed(judged, "G1") || failed(judged, "G2") || failed(judged, "G3"));
  EXPECT_GT(judged.rms_baseline_error, judged.rms_candidate_error);
}

}  // namespace
}  // namespace sparity::judge
