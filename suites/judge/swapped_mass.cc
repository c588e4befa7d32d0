#include "src/core/error.h"
#include "suites/judge/gates.h"
#include "suites/judge/selection.h"
#include "suites/judge/selection_rows.h"
#include "suites/judge/tolerances.h"

#include <fmt/format.h>

#include <algorithm>

namespace sparity::judge {

namespace {

/// The most weight that any row's choice gives up.
double worst_mass(const SelectionClaim& claim, const Tensor& indices, const Tensor& truth_scores,
                  const Tensor& weights) {
  double worst = 0;
  for (std::size_t row = 0; row < truth_scores.rows(); ++row) {
    const RowFlips flips =
        flips_of_row(truth_scores.row(row), indices.row(row), claim.k, claim.ties);
    double mass = 0;
    for (const std::int64_t key : flips.given_up) {
      mass += weights.row(row)[static_cast<std::size_t>(key)];
    }
    worst = std::max(worst, mass);
  }
  return worst;
}

}  // namespace

Gate swapped_mass_gate(const SelectionClaim& claim, const Choice& candidate,
                       const Tensor& baseline_indices, const Tensor& truth_scores,
                       const Tensor& truth_weights) {
  SPARITY_CHECK(truth_weights.shape == truth_scores.shape &&
                    candidate.indices->rows() == truth_scores.rows() &&
                    baseline_indices.rows() == truth_scores.rows(),
                claim.tensor + ": weights, scores and indices have different rows");
  const double candidate_mass = worst_mass(claim, *candidate.indices, truth_scores, truth_weights);
  const double baseline_mass = worst_mass(claim, baseline_indices, truth_scores, truth_weights);
  return make_gate("S6", candidate_mass,
                   kFlipFactor * baseline_mass + 1.0 / static_cast<double>(claim.k), false,
                   fmt::format("largest weight that a flipped row gives up; the baseline's is {}",
                               baseline_mass));
}

}  // namespace sparity::judge
