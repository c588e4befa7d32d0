#pragma once

#include "suites/judge/record.h"
#include "suites/judge/tensor.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sparity::judge {

/// Which of equal scores may be chosen.
enum class TiePolicy {
  kLowIndex,  // this project's: score descending, index ascending, positions compared one by one
  kAny,       // dumps from elsewhere: any of the equals at rank k, and the list in any order
};

/// What is claimed of a choice of the k best of T by score.
struct SelectionClaim {
  std::string tensor;  // trace name of the indices
  std::int64_t k = 0;
  TiePolicy ties = TiePolicy::kLowIndex;
  /// Longest reduction behind a score; used for float64, where the baseline errs by nothing.
  std::int64_t reduction_length = 1;
  /// Independent samples of rounding behind the scores, as in TensorClaim; few widen S4.
  std::optional<std::int64_t> samples = std::nullopt;
};

/// One side's scores [… T] (−inf at keys that may not be chosen) and the indices [… min(k,T)] it
/// chose, integers, −1 after the last valid one.
struct Choice {
  const Tensor* scores = nullptr;  // of a foreign dump may be missing: S2 is then not judged
  const Tensor* indices = nullptr;
};

/// A selection judged.
struct SelectionResult {
  Comparison comparison;  // gates S2, S3, S4, "S4 rate"; in failing ones, worst elements
  SelectionSummary summary;
  std::vector<bool> flip_free;           // per row: the candidate chose truth's set
  std::vector<bool> baseline_flip_free;  // per row
};

/// Judges a choice (verification specification, b.6); parity of the scores themselves (S1) is
/// `compare`'s.
///
/// - S2, own exactness: the indices are the exact top k of the candidate's own stored scores under
///   the tie policy; −0 equals +0; a NaN score is a violation. lhs counts rows.
/// - S3, validity: integers, in range, unique, only keys whose truth score is not −inf, as many as
///   min(k, #valid), −1 only as tail. lhs counts rows.
/// - S4, explained flips: over rows, the largest truth margin between a key given up and a key
///   taken instead, in units of ε, ≤ 2·1.5·w(ν). ε is the row's max over valid keys of |baseline −
///   truth|, at least that of a typical row of the case, at least one ulp of the score's dtype at
///   the row's k-th score (for float64, also 64·√K·u·ρ(row)). A typical row errs by the root mean
///   square over rows of max|baseline − truth| / ρ(row), times its own ρ(row): the keys of a row
///   share their query's error, so that a row's maximum is one lucky or unlucky draw.
///   It never comes from the candidate: a badly wrong score would explain every flip.
/// - S4 rate: flips ≤ flip_allowance(baseline's flips), both over the number selected.
///
/// `baseline.indices` may be null: its choice is then the top k of its scores. Its own flips are
/// counted against `truth_of_baseline`, or `truth_scores` when that is null (a router's second
/// stage masks them differently). Under kAny a swap of exactly equal truth scores is no flip. Gates
/// "truth" and "baseline" fail when scores are neither finite nor −inf, are masked differently or
/// leave no key to choose. A candidate whose shape or dtype is wrong fails G0. Throws (exit code 6)
/// when the harness's own tensors do not fit each other.
SelectionResult compare_selection(const SelectionClaim& claim, const Choice& candidate,
                                  const Choice& baseline, const Tensor& truth_scores,
                                  const Tensor* truth_of_baseline = nullptr);

/// b ↦ 3·b + 1 + 6·√(b+1): flips that a candidate may have where the baseline has b (tolerances.h).
double flip_allowance(std::int64_t baseline_flips);

/// S6 for rows that flipped: the truth's weight (softmax mass of a key, gate weight of an expert;
/// [… T]) on the items given up, at most, against 3 times the baseline's worst plus 1/k. Reported,
/// not blocking: margins bound the selection score, not the weight.
Gate swapped_mass_gate(const SelectionClaim& claim, const Choice& candidate,
                       const Tensor& baseline_indices, const Tensor& truth_scores,
                       const Tensor& truth_weights);

}  // namespace sparity::judge
