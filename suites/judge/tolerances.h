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

// The only home of multipliers. "b.2", "b.4", "b.6" are sections of the verification specification;
// none of these may be raised without a calibration record, and never beyond kMultiplierCap times.

/// G1: global error over the baseline's. 1.5 had no false alarm in 200 simulated runs (b.2);
/// msprobe uses 2 / 1.5 / 1.2 by operator level, PyTorch's dynamo 2 to 3, flash-attention 2.
inline constexpr double kGlobalFactor = 1.5;

/// Backward 3: a gradient carries its forward's error too, and those of a router or a gain come out
/// of cancellations of few large terms. 1.5 failed 43 of 77 000 clean comparisons of the suite
/// `gradients` (45 seeds), the worst with a ratio of 2.05.
constexpr double global_factor(Direction direction) {
  return direction == Direction::kForward ? kGlobalFactor : 3.0;
}

/// G2 and G3: the worst row's and the worst element's error over the baseline's worst. Maxima of
/// few rows scatter more than a mean: 3. Backward 10: the worst honest ratio of a tiled attention
/// backward against autograd was 4.9, while a 1 % fault in one row reads about 6000 (b.2).
constexpr double row_factor(Direction direction) {
  return direction == Direction::kForward ? 3.0 : 10.0;
}
constexpr double element_factor(Direction direction) {
  return direction == Direction::kForward ? 3.0 : 10.0;
}

/// f of G1's floor f·u·ρ(t): 2⁻⁴, because many independent roundings average out; 2 below 64
/// elements, because a scalar's baseline may be lucky (u/16 gave 16 % false alarms on f32 scalars,
/// 2u 0.4 %; b.2).
inline constexpr std::int64_t kFewElements = 64;
constexpr double rounding_floor(std::int64_t elements) {
  return elements < kFewElements ? 2.0 : 0.0625;
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

/// G4: standard errors that a mean of independent errors may lie from zero (b.2); its floor is
/// 2⁻⁴·u·ρ(t).
inline constexpr double kBiasSigmas = 6.0;
inline constexpr double kBiasFloor = 0.0625;

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
inline constexpr double kMarginFactor = 2.0 * kGlobalFactor;

/// S4: flips over the baseline's, plus one (b.6), plus this many standard errors of a count.
/// Without the last term two honest implementations with one or two expected flips differ by more
/// than 3·b + 1 in up to 10.6 % of runs (two Poisson counts of the same mean, worst at 1.35); with
/// 6, in 0.1 % (worst at 4.5).
inline constexpr double kFlipFactor = 3.0;
inline constexpr double kFlipSigmas = 6.0;

/// ACCUMULATED: free-run error over the one predicted from local errors and gains (b.4).
inline constexpr double kAccumulatedFactor = 2.0;

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
