#pragma once

#include "src/core/dtype.h"
#include "src/core/model_config.h"
#include "suites/judge/record.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sparity::judge {

/// Forward activations and losses, or gradients.
enum class Direction { kForward, kBackward };

// The only home of multipliers. "b.2", "b.4", "b.6" are sections of the verification specification.
// Each lies in the gap between the worst that honest code reached and the weakest planted fault, at
// best three times from both: docs/testing.md has the figures, and where the gap is narrower.

/// Factors of one kind of tensor over what the worst honest run shows.
struct Factors {
  double global;  // G1: ρ of the error
  double worst;   // G2, G3: the worst row, column and element, which scatter more than a mean
  double slope;   // G4: the factor that all errors share
  double median;  // G5: the median line, over its own honest error
};

/// In 16-bit types. A gradient carries its forward's error too, and is summed from few large terms
/// more often. In wider types three times as much: faults stand so far above their rounding
/// (thousands of times) that the middle of the gap lies higher.
constexpr Factors factors(Direction direction, core::Dtype precision) {
  const bool narrow = precision == core::Dtype::kBF16 || precision == core::Dtype::kF16;
  const double by_dtype = narrow ? 1 : 3;
  const Factors base =
      direction == Direction::kForward ? Factors{3, 8, 4.5, 3} : Factors{6, 12, 6, 5};
  return {by_dtype * base.global, by_dtype * base.worst, by_dtype * base.slope,
          by_dtype * base.median};
}

/// All of them grow by this where few samples decide: fewer than kFewSamples different tokens, or
/// cells that hold the tensor's energy (ErrorStats::effective_cells). So few may all be lucky.
inline constexpr std::int64_t kFewSamples = 8;
inline constexpr double kFewSamplesFactor = 4.0;

/// A comparison whose G1 allows so many times ρ(t) is undecided: zeros would pass it, and a common
/// factor is no longer told either.
inline constexpr double kMostOfSignal = 2.0;

/// Of what was summed: below it a truth in float64 is what its own cancellation leaves of zero.
inline constexpr double kResidue = 0x1p-40;

/// G4: this share of the honest global error counts as slope, in case all honest runs were lucky.
inline constexpr double kSlopeShare = 0.1;

/// f of the floors f·u: 2⁻⁴, because many independent roundings average out. Below 64 elements
/// 2⁻² beside several honest runs, and 2 beside a single one, which may be lucky (u/16 gave 16 %
/// false alarms on f32 scalars, 2u 0.4 %; b.2).
inline constexpr std::int64_t kFewElements = 64;
constexpr double rounding_floor(std::int64_t elements, bool several_runs) {
  return elements >= kFewElements ? 0.0625 : (several_runs ? 0.25 : 2.0);
}

/// Share of honest pairs whose ratio of errors exceeds `honest_ratio`.
inline constexpr double kScatterAlarm = 1e-3;

/// q(ν), the ratio of errors that two equally good implementations exceed with probability
/// kScatterAlarm when each error is the root mean square of ν independent samples: the square root
/// of F's quantile, √F(ν, ν) = tan θ + sec θ, where the share kScatterAlarm of ∫cos^(ν−1) over
/// (−π/2, π/2) lies above θ. 637 for one sample, 5.5 for 5, 1.8 for 30. Throws (exit code 6) below
/// one.
double honest_ratio(std::int64_t samples);

/// The most by which a multiplier may be raised, be it by a recorded calibration or for few
/// samples.
inline constexpr double kMultiplierCap = 3.0;

/// w(ν) = q(ν) / 1.5, at least 1 and at most kMultiplierCap: what few samples multiply the factors
/// of G1 to G3 and S4 by. The factors hold as they are from 61 samples on; below, a baseline's
/// error is itself a matter of luck. Below 6 the cap decides. Not set: 1.
double widening(std::optional<std::int64_t> samples);

/// A float64 candidate has no ratio to be judged by: ρ(c−t) ≤ 64·√K·u·ρ(t) (b.2).
inline constexpr double kF64Factor = 64.0;

/// How far from truth the baseline itself may be, in units of `a_priori_error`: beyond it the
/// yardstick is broken and the ratio means nothing (b.2). 64 as for float64; in bfloat16 it is a
/// quarter of the signal.
inline constexpr double kBaselineFactor = 64.0;

/// What stands in for the baseline's error when there is none, in units of `a_priori_error`. 16 is
/// the threshold of the BLAS gauge (LAPACK, BLAS/TESTING/dblat3.f); for bfloat16 it is 6 % of the
/// signal.
inline constexpr double kNoBaselineFactor = 16.0;

/// A truth narrower than float64 (a dump from elsewhere) must round at least this much finer than
/// what it judges, so that its own error stays below the floors above.
inline constexpr double kTruthFinerThan = 256.0;

/// S4: a swap is explained when the margin is at most 2·1.5·ε. 2: both scores of a swapped pair may
/// be off by ε; 1.5: the candidate's error over the baseline's, as in G1 (b.6).
inline constexpr double kMarginFactor = 2.0 * 1.5;

/// S4: flips over the baseline's, plus one (b.6), plus this many standard errors of a count.
/// Without the last term two honest implementations with one or two expected flips differ by more
/// than 3·b + 1 in up to 10.6 % of runs (two Poisson counts of the same mean, worst at 1.35); with
/// 6, in 0.1 % (worst at 4.5).
inline constexpr double kFlipFactor = 3.0;
inline constexpr double kFlipSigmas = 6.0;

/// ACCUMULATED: free-run error over the one predicted from local errors and gains (b.4).
inline constexpr double kAccumulatedFactor = 2.0;

/// Where the plain tolerance of a free run is this share of the signal, it decides nothing.
inline constexpr double kMostOfStream = 0.5;

/// Relative error that an honest computation of reduction length K stays near:
/// u + √K·u_acc, with u_acc the roundoff of the accumulator, which is float32 for 16-bit types and
/// the type itself otherwise. One rounding of what is stored, and the random walk of K roundings
/// inside (γ̃_K, b.2).
double a_priori_error(core::Dtype dtype, std::int64_t reduction_length);

/// K of one layer: the sum of the lengths of every reduction that it chains over `tokens` keys.
std::int64_t layer_reduction_length(const core::ModelConfig& config, std::int64_t tokens);

/// Largest lhs/rhs seen per gate and dtype on clean runs: what a change of a multiplier must show.
struct Calibration {
  struct Entry {
    std::string gate;
    core::Dtype dtype = core::Dtype::kF32;
    double largest_headroom = 0;
    std::string tensor = {};  // where it was seen
    std::int64_t comparisons = 0;
  };
  std::vector<Entry> entries;  // by order of first appearance

  /// Takes in every gate of a clean comparison, blocking or not.
  void observe(const Comparison& comparison);
};

}  // namespace sparity::judge
