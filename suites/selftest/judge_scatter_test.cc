// Few independent samples: how far two honest errors scatter, what the gates then allow, and what
// they still catch.

#include "src/core/error.h"
#include "suites/judge/conditions.h"
#include "suites/judge/divergence.h"
#include "suites/judge/gates.h"
#include "suites/judge/tolerances.h"
#include "suites/selftest/judge_samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sparity::judge {
namespace {

using core::Dtype;
using samples::failed;
using samples::gate_named;
using samples::Gaussian;

/// Truth and two honest runs of `rows` tokens. The cells of a head of a token share one error: a
/// row holds as many samples as there are heads, not cells.
struct FewTokens {
  static constexpr std::int64_t kHeads = 5;
  static constexpr std::int64_t kWidth = 16 * kHeads;
  Tensor truth, baseline, candidate;

  FewTokens(std::int64_t rows, std::uint64_t seed, Dtype dtype = Dtype::kBF16)
      : truth(samples::random_truth({1, rows, kWidth}, seed)),
        baseline(noisy(dtype, seed + 1000)),
        candidate(noisy(dtype, seed + 2000)) {}

  Tensor noisy(Dtype dtype, std::uint64_t seed) const {
    Tensor result = truth;
    result.dtype = dtype;
    Gaussian gaussian(seed);
    const double u = core::unit_roundoff(dtype);
    double error = 0;
    for (std::size_t i = 0; i < result.values.size(); ++i) {
      if (i % (kWidth / kHeads) == 0) {
        error = 3 * u * gaussian();
      }
      result.values[i] = rounded(result.values[i] * (1 + error), dtype);
    }
    return result;
  }

  Comparison judge(std::optional<std::int64_t> samples) const {
    return compare({.tensor = "x", .reduction_length = 100, .samples = samples}, candidate,
                   &baseline, truth);
  }
};

TEST(Scatter, TheHonestRatioIsTheRootOfTheQuantileOfF) {
  // 0.999 quantiles of F(n, n), from tables.
  const std::vector<std::pair<std::int64_t, double>> quantiles = {
      {1, 405284}, {2, 999.0}, {3, 141.1}, {4, 53.44}, {5, 29.75}, {10, 8.754}, {30, 3.217}};
  for (const auto& [samples, quantile] : quantiles) {
    EXPECT_NEAR(honest_ratio(samples) / std::sqrt(quantile), 1, 1e-3) << samples;
  }
  EXPECT_THROW(honest_ratio(0), core::Error);
}

TEST(Scatter, OneHonestPairInAThousandLiesAboveTheHonestRatio) {
  constexpr int kPairs = 40'000;
  Gaussian gaussian(1);
  for (const std::int64_t samples : {1, 3, 13}) {
    const auto error = [&] {
      double squares = 0;
      for (std::int64_t i = 0; i < samples; ++i) {
        const double one = gaussian();
        squares += one * one;
      }
      return std::sqrt(squares);
    };
    int above = 0;
    for (int pair = 0; pair < kPairs; ++pair) {
      above += error() / error() > honest_ratio(samples) ? 1 : 0;
    }
    // 40 expected; five standard errors to either side.
    EXPECT_GE(above, 9) << samples;
    EXPECT_LE(above, 71) << samples;
  }
}

TEST(Scatter, WideningFallsToOneAtSixtyOneSamplesAndStaysThere) {
  EXPECT_EQ(widening(std::nullopt), 1);
  for (std::int64_t samples = 1; samples < 61; ++samples) {
    EXPECT_GT(widening(samples), 1) << samples;
    EXPECT_LE(widening(samples), kMultiplierCap);
    EXPECT_GE(widening(samples), widening(samples + 1));
  }
  EXPECT_EQ(widening(5), kMultiplierCap);
  EXPECT_LT(widening(6), kMultiplierCap);
  for (const std::int64_t samples : {61, 62, 100, 5000}) {
    EXPECT_EQ(widening(samples), 1);
  }
}

TEST(Scatter, EnoughSamplesLeaveEveryGateAsItWas) {
  const FewTokens run(90, 1);
  const Comparison plain = run.judge(std::nullopt);
  const Comparison counted = run.judge(61);
  ASSERT_EQ(plain.gates.size(), counted.gates.size());
  for (std::size_t i = 0; i < plain.gates.size(); ++i) {
    EXPECT_EQ(plain.gates[i].rhs, counted.gates[i].rhs) << plain.gates[i].name;
    EXPECT_EQ(plain.gates[i].note, counted.gates[i].note);
  }
}

TEST(Scatter, HonestRunsOfFewTokensRaiseNoMoreAlarmsThanPromised) {
  constexpr int kRuns = 2000;
  for (const Dtype dtype : {Dtype::kBF16, Dtype::kF32}) {
    for (const std::int64_t tokens : {1, 2, 3, 5, 13, 30}) {
      int plain = 0;
      int counted = 0;
      for (int seed = 0; seed < kRuns; ++seed) {
        const FewTokens run(tokens, static_cast<std::uint64_t>(seed), dtype);
        plain += run.judge(std::nullopt).passed() ? 0 : 1;
        counted += run.judge(tokens).passed() ? 0 : 1;
      }
      // One in a thousand of each of three gates; at one token the cap lets a few more through.
      EXPECT_LE(counted, tokens == 1 ? 16 : 6) << tokens;
      if (dtype == Dtype::kBF16 && tokens == 1) {
        EXPECT_GE(plain, kRuns / 50) << "nothing was wrong without the count";
      }
    }
  }
}

TEST(Scatter, MistakesOfOneTokenAreStillFound) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    FewTokens narrow(1, seed, Dtype::kF32);
    for (std::size_t i = 0; i < narrow.candidate.values.size(); ++i) {
      samples::set(narrow.candidate, i, 1.01 * narrow.truth.values[i]);
    }
    EXPECT_TRUE(failed(narrow.judge(1), "G1")) << "one percent in float32, seed " << seed;
    FewTokens coarse(1, seed, Dtype::kBF16);
    std::ranges::rotate(coarse.candidate.values, coarse.candidate.values.begin() + 1);
    EXPECT_TRUE(failed(coarse.judge(1), "G1")) << "shifted channels in bfloat16, seed " << seed;
  }
}

TEST(Scatter, AWidenedGateStaysWithinTheCapAndSaysThatItIs) {
  const FewTokens run(1, 7);
  const Comparison plain = run.judge(std::nullopt);
  const Comparison counted = run.judge(1);
  for (const char* name : {"G1", "G2", "G3"}) {
    EXPECT_GT(gate_named(counted, name)->rhs, gate_named(plain, name)->rhs) << name;
    const double scale = std::string(name) == "G1" ? plain.rms_truth : 1;
    EXPECT_LE(gate_named(counted, name)->rhs,
              kMultiplierCap * gate_named(plain, name)->rhs +
                  (kMultiplierCap - 1) * a_priori_error(Dtype::kBF16, 100) * scale);
    EXPECT_NE(gate_named(counted, name)->note.find("for few tokens (1)"), std::string::npos);
  }
}

/// One score of one token, a sum of terms of size 1 that leaves 0.01.
TEST(Scatter, AResultThatCancelsIsJudgedBesideItsTerms) {
  const Tensor truth{.dtype = Dtype::kF64, .shape = {1, 1, 1}, .values = {0.01}};
  const auto off_by = [&](double error) {
    Tensor tensor{.dtype = Dtype::kF32, .shape = {1, 1, 1}, .values = {0.01 + error}};
    tensor.values[0] = rounded(tensor.values[0], Dtype::kF32);
    return tensor;
  };
  const double u = core::unit_roundoff(Dtype::kF32);
  const Tensor lucky = off_by(0);
  const auto judged = [&](double error, std::optional<double> magnitude) {
    return compare({.tensor = "indexer.scores",
                    .reduction_length = 100,
                    .samples = 1,
                    .magnitude = magnitude},
                   off_by(error), &lucky, truth)
        .passed();
  };
  EXPECT_FALSE(judged(15 * u, std::nullopt));
  EXPECT_TRUE(judged(15 * u, 1));
  EXPECT_FALSE(judged(40 * u, 1));
  EXPECT_FALSE(judged(1e-4, 1)) << "one percent of the score";
}

/// The gradient of a single key's logit: zero in the truth and for the baseline.
TEST(Scatter, AGradientOfZerosIsJudgedBesideTheOneThatArrives) {
  const Tensor truth{
      .dtype = Dtype::kF64, .shape = {1, 2, 40}, .values = std::vector<double>(80, 0.0)};
  Tensor baseline = truth;
  baseline.dtype = Dtype::kF32;
  const auto judged = [&](double left, std::optional<std::int64_t> samples,
                          std::optional<double> magnitude) {
    Tensor candidate = baseline;
    samples::set(candidate, 7, left);
    return compare({.tensor = "grad.self_attn.k_rot",
                    .direction = Direction::kBackward,
                    .reduction_length = 1000,
                    .samples = samples,
                    .magnitude = magnitude},
                   candidate, &baseline, truth);
  };
  EXPECT_TRUE(judged(0, 2, 1).passed());
  EXPECT_TRUE(judged(1e-7, 2, 1).passed());
  EXPECT_FALSE(judged(1e-7, 2, std::nullopt).passed());
  EXPECT_TRUE(judged(1e-7, 61, 1).passed()) << "zero is zero, however many tokens there are";
  EXPECT_TRUE(failed(judged(0.01, 2, 1), "G1"));
  EXPECT_FALSE(judged(0.01, 2, 1).worst.empty());
}

TEST(Scatter, TheLayerChartWidensByTheSameFactor) {
  TracePoint point{.tensor = "layers.0", .local_headroom = 0.5};
  point.baseline_error = 0.01;
  point.predicted_error = 0.01;
  point.free_error = 0.1;
  EXPECT_EQ(classify(point, Dtype::kF32), DivergenceClass::kUnexplained);
  EXPECT_EQ(classify(point, Dtype::kF32, 5), DivergenceClass::kClean);
  point.free_error = 0.4;
  EXPECT_EQ(classify(point, Dtype::kF32, 5), DivergenceClass::kUnexplained);
}

TEST(Conditions, OneDrawnGainOfOneIsNoAlarmAndANormOfOnesIs) {
  const auto exercised = [](std::vector<std::vector<double>> gains) {
    ExercisedFacts facts;
    facts.norm_gains = std::move(gains);
    const auto rows = conditions_of(core::ModelConfig{}, facts, true);
    return std::ranges::find(rows, "norm gains differ from 1", &Condition::name)->exercised;
  };
  EXPECT_TRUE(exercised({{0.9, 1.1, 1, 1.3}, {1.2, 0.8}}));
  EXPECT_FALSE(exercised({{0.9, 1.1, 1.2, 1.3, 0.7}, {1, 1}}));
  EXPECT_FALSE(exercised({{1, 1, 1, 0.9}, {1.2, 0.8}}));
}

TEST(Conditions, AShortRunIsReported) {
  ExercisedFacts facts;
  facts.sequence_lengths = {3};
  facts.distinct_tokens = 3;
  const auto rows = conditions_of(core::ModelConfig{}, facts, false);
  const auto row = std::ranges::find(rows, "enough different tokens for the gates' own factors",
                                     &Condition::name);
  ASSERT_NE(row, rows.end());
  EXPECT_FALSE(row->exercised);
  EXPECT_FALSE(row->required);
}

}  // namespace
}  // namespace sparity::judge
