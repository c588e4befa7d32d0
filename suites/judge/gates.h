#pragma once

#include "src/core/dtype.h"
#include "suites/judge/record.h"
#include "suites/judge/tensor.h"
#include "suites/judge/tolerances.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace sparity::judge {

/// The one place where a decision is made: ok = isfinite(lhs) && isfinite(rhs) && lhs <= rhs.
Gate make_gate(std::string name, double lhs, double rhs, bool blocking = true,
               std::string note = {});

/// Gates named "truth" and "baseline" judge the harness's own side. One that fails means that the
/// comparison is worth nothing, whatever the candidate did: the case is a harness fault
/// (outcome.h).
bool is_harness_gate(const Gate& gate);

/// What is claimed of a tensor, and so how it is judged.
struct TensorClaim {
  std::string tensor;
  Direction direction = Direction::kForward;
  /// The operation copies, gathers, masks or permutes: bit equality with the baseline (without one,
  /// with the truth rounded once to the dtype). Integer and bool tensors are always exact.
  bool exact = false;
  /// K, the longest reduction on the way to this tensor; of float64 candidates, of the baseline's
  /// own bound, and of the weaker rule without a baseline.
  std::int64_t reduction_length = 1;
  /// Weight gradients: output rows and input columns are both judged.
  bool both_axes = false;
  /// The coarsest dtype that values were rounded to on the way; default the tensor's own. Scores
  /// stored in float32 by a bfloat16 run say bfloat16.
  std::optional<core::Dtype> computed_in = std::nullopt;
  /// The dtype that the candidate must have; default the baseline's.
  std::optional<core::Dtype> expected_dtype = std::nullopt;
  /// ν, how many independent samples of rounding the tensor holds, at most: the different tokens of
  /// a run. Few widen the gates (`widening`). Not set: enough.
  std::optional<std::int64_t> samples = std::nullopt;
  /// ρ of the terms that were summed, |A|·|B| in the BLAS gauge, where a result of few cells may
  /// cancel: the scale of a-priori errors where it is above ρ(t).
  std::optional<double> magnitude = std::nullopt;
  /// ρ of what signs that the dtype cannot decide may add to an honest error. One of the further
  /// runs shows it element by element; the baseline's bound grows by it.
  double slack = 0;
  /// The weights are ours and known to be well-conditioned: a baseline beyond its bound is a fault
  /// of the harness. Of anybody's weights it says that this dtype cannot compute the tensor.
  bool conditioned = true;
};

/// Judges one tensor (verification specification, b.2). c, b, t are candidate, baseline, truth; u
/// the unit roundoff of `computed_in`; ρ the root mean square, ρ_r that of row r; n the number of
/// cells compared. Cells that are infinite in the truth must be so in the candidate, sign included,
/// and are then left out.
///
/// - truth: float64 (or kTruthFinerThan times finer than the candidate), no NaN, at least one
///   finite cell, not the candidate's own values. lhs counts violations.
/// - baseline: G0's structure, and ρ(b−t) ≤ 64·(u + √K·u_acc)·max(ρ(t), magnitude).
/// - G0: shape, dtype, values of the dtype claimed, non-finite cells identical. lhs counts
///   violations.
///
/// Of each measure h(·) is the largest that the baseline or one of the `further` honest runs shows;
/// f is 2⁻⁴, of few cells more (tolerances.h), and a = √K·u_acc.
/// - G1: ρ(c−t) ≤ 3·h(ρ) + (f·u + a)·ρ(t).
/// - G2: max_r ρ_r(c−t)/(ρ_r(t)+ρ(t)) ≤ 8·h + u + a. G2c: the same over columns.
/// - G3: max |c−t|/(|t|+ρ(t)) ≤ 8·h + u + a.
/// - G4: |⟨c−t, t⟩|/⟨t, t⟩ ≤ 4.5·(h + h(ρ)/(10·ρ(t))) + f·u + a, from 64 cells on: an error that
/// all
///   cells share.
/// - G5: the median over rows of ρ_r(c−t)/(h(ρ_r) + floors) ≤ 3. G5c: over columns.
/// - lost, lost columns: lines of zeros where truth and honest runs have none (line_errors.h) ≤ 0.
/// With a single run and few samples the factors grow by w(ν) ≤ 3, and w − 1 a-priori errors are
/// allowed on top: it may be right by luck.
///
/// A truth that is zero beside its `magnitude` gives no ratio: then G1 is ρ(c−t) ≤ 16·(u +
/// √K·u_acc)·magnitude, or few samples' factor over what honest runs leave, if that is more. Where
/// G1's limit is above ρ(t), or an unconditioned baseline is beyond its bound, the comparison is
/// undecided: G1 to G5 are shown and do not block.
/// - bound: of float64 candidates, instead of G1–G3: ρ(c−t) ≤ 64·√K·u·ρ(t). No baseline is read.
/// - exact: of exact claims, instead of G1–G4: elements whose bits differ ≤ 0.
///
/// G0 failing, or the truth being unfit, ends the judgement: no statistic is formed. A NaN in the
/// truth is a fault of the harness, so a NaN is never accepted, wherever it is. Without a baseline
/// (null), 16·(u + √K·u_acc) stands in for its relative errors, and each gate's note says so. A
/// failing comparison carries worst elements, magnitude buckets and an error map. Throws (exit code
/// 6) when two of the tensors are the same object or a tensor's values do not fill its shape.
///
/// `further` are honest runs beside the baseline, with other roundings; the worst of all of them is
/// what the ratios are formed with.
Comparison compare(const TensorClaim& claim, const Tensor& candidate, const Tensor* baseline,
                   const Tensor& truth, std::span<const Tensor> further = {});

}  // namespace sparity::judge
