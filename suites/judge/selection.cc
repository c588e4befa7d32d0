#include "suites/judge/selection.h"

#include "src/core/error.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/gates.h"
#include "suites/judge/selection_rows.h"
#include "suites/judge/tolerances.h"
#include "suites/judge/top_k.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace sparity::judge {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kWorstElements = 5;

std::vector<std::int64_t> indices_shape(const Tensor& scores, std::int64_t k) {
  std::vector<std::int64_t> shape = scores.shape;
  shape.back() = std::min(k, shape.back());
  return shape;
}

bool is_score(double value) { return std::isfinite(value) || value == -kInfinity; }

bool same_mask(const Tensor& a, const Tensor& b) {
  return std::ranges::equal(a.values, b.values, {}, finiteness, finiteness);
}

/// The rows' violations, counted, with the first row named.
struct RowViolations {
  std::int64_t count = 0;
  std::size_t first = 0;

  void add(std::size_t row) {
    if (count++ == 0) {
      first = row;
    }
  }
};

class SelectionJudgement {
 public:
  SelectionJudgement(const SelectionClaim& claim, const Choice& candidate, const Choice& baseline,
                     const Tensor& truth, const Tensor& truth_of_baseline)
      : claim_(claim),
        candidate_(candidate),
        baseline_(baseline),
        truth_(truth),
        truth_of_baseline_(truth_of_baseline),
        allowed_margin_(kMarginFactor * widening(claim.samples)) {
    result_.comparison.tensor = result_.summary.tensor = claim.tensor;
    result_.comparison.dtype = candidate.indices->dtype;
    result_.comparison.shape = candidate.indices->shape;
    result_.summary.rows = static_cast<std::int64_t>(truth.rows());
    result_.summary.allowed_margin = allowed_margin_;
    result_.flip_free.assign(truth.rows(), false);
    result_.baseline_flip_free.assign(truth.rows(), false);
  }

  SelectionResult run() {
    if (!judge_harness_side() || !judge_structure()) {
      return std::move(result_);
    }
    typical_error_ = typical_error();
    for (std::size_t row = 0; row < truth_.rows(); ++row) {
      judge_row(row);
    }
    finish();
    return std::move(result_);
  }

 private:
  bool judge_harness_side() {
    std::int64_t selectable = 0;
    for (std::size_t row = 0; row < truth_.rows(); ++row) {
      selectable += std::min(claim_.k, valid_count(truth_.row(row)));
    }
    result_.summary.selected = selectable;
    const bool truth_ok = add(make_gate(
        "truth", selectable == 0 || !std::ranges::all_of(truth_.values, is_score) ? 1 : 0, 0, true,
        selectable == 0 ? "no row has a key to choose: nothing would be compared"
                        : "truth's scores are finite, or −inf where masked"));
    const bool baseline_ok =
        add(make_gate("baseline", same_mask(*baseline_.scores, truth_) ? 0 : 1, 0, true,
                      "the baseline's scores are finite where the truth's are"));
    return truth_ok && baseline_ok;
  }

  bool judge_structure() {
    const Tensor& indices = *candidate_.indices;
    const std::vector<std::int64_t> expected = indices_shape(truth_, claim_.k);
    std::string note;
    if (indices.shape != expected) {
      note = fmt::format("expected indices of shape {}, found {}", describe_shape(expected),
                         describe_shape(indices.shape));
    } else if (indices.dtype != core::Dtype::kI64 && indices.dtype != core::Dtype::kI32) {
      note = fmt::format("expected integer indices, found {}", core::to_string(indices.dtype));
    } else if (candidate_.scores != nullptr && candidate_.scores->shape != truth_.shape) {
      note = fmt::format("expected scores of shape {}, found {}", describe_shape(truth_.shape),
                         describe_shape(candidate_.scores->shape));
    }
    return add(make_gate("G0", note.empty() ? 0 : 1, 0, true, note));
  }

  void judge_row(std::size_t row) {
    const auto truth = truth_.row(row);
    const auto chosen = candidate_.indices->row(row);
    if (candidate_.scores != nullptr &&
        !is_own_top_k(candidate_.scores->row(row), chosen, claim_.k, claim_.ties)) {
      not_own_.add(row);
      add_wrong_position(row, top_k_or_none(candidate_.scores->row(row)));
    }
    if (!is_valid(truth, chosen, claim_.k)) {
      not_valid_.add(row);
      add_wrong_position(row, top_k(truth, claim_.k));
    }
    const RowFlips flips = flips_of_row(truth, chosen, claim_.k, claim_.ties);
    const RowFlips honest = baseline_flips(row);
    result_.flip_free[row] = flips.count == 0;
    result_.baseline_flip_free[row] = honest.count == 0;
    result_.summary.flips += flips.count;
    result_.summary.flipped_rows += flips.count > 0 ? 1 : 0;
    result_.summary.baseline_flips += honest.count;
    result_.summary.tied_rows += ties_at_boundary(truth) ? 1 : 0;
    if (!flips.taken.empty() && !flips.given_up.empty()) {
      judge_margin(row, flips);
    }
  }

  std::vector<std::int64_t> top_k_or_none(std::span<const double> scores) const {
    const bool ordered =
        std::ranges::none_of(scores, [](double score) { return std::isnan(score); });
    return ordered ? top_k(scores, claim_.k) : std::vector<std::int64_t>();
  }

  RowFlips baseline_flips(std::size_t row) const {
    const auto truth = truth_of_baseline_.row(row);
    if (baseline_.indices != nullptr) {
      return flips_of_row(truth, baseline_.indices->row(row), claim_.k, claim_.ties);
    }
    const std::vector<std::int64_t> own = top_k(baseline_.scores->row(row), claim_.k);
    return flips_of_row(truth, std::vector<double>(own.begin(), own.end()), claim_.k, claim_.ties);
  }

  bool ties_at_boundary(std::span<const double> truth) const {
    const std::vector<std::int64_t> ranked = top_k(truth, claim_.k + 1);
    const auto k = static_cast<std::size_t>(claim_.k);
    return ranked.size() > k && truth[static_cast<std::size_t>(ranked[k])] ==
                                    truth[static_cast<std::size_t>(ranked[k - 1])];
  }

  /// max over valid keys of |baseline − truth|.
  double baseline_error(std::size_t row) const {
    const auto truth = truth_.row(row);
    const auto honest = baseline_.scores->row(row);
    double largest = 0;
    for (std::size_t key = 0; key < truth.size(); ++key) {
      if (truth[key] != -kInfinity) {
        largest = std::max(largest, std::abs(honest[key] - truth[key]));
      }
    }
    return largest;
  }

  double typical_error() const {
    std::vector<double> errors;
    for (std::size_t row = 0; row < truth_.rows(); ++row) {
      const double scale = rms(truth_.row(row));
      if (scale > 0) {
        errors.push_back(baseline_error(row) / scale);
      }
    }
    return rms(errors);
  }

  /// ε of a row: what an honest score errs by there.
  double row_epsilon(std::size_t row) const {
    const auto truth = truth_.row(row);
    const core::Dtype dtype = baseline_.scores->dtype;
    const std::int64_t boundary = top_k(truth, claim_.k).back();
    double epsilon = std::max({core::ulp(truth[static_cast<std::size_t>(boundary)], dtype),
                               baseline_error(row), typical_error_ * rms(truth)});
    if (dtype == core::Dtype::kF64) {
      epsilon = std::max(epsilon, kF64Factor * std::sqrt(double(claim_.reduction_length)) *
                                      core::unit_roundoff(dtype) * rms(truth));
    }
    return epsilon;
  }

  void judge_margin(std::size_t row, const RowFlips& flips) {
    const double margin = flips.margin / row_epsilon(row);
    result_.summary.worst_margin = std::max(result_.summary.worst_margin, margin);
    if (margin <= allowed_margin_) {
      return;
    }
    const auto truth = truth_.row(row);
    const std::int64_t key = *std::ranges::min_element(
        flips.taken, {}, [&](std::int64_t one) { return truth[static_cast<std::size_t>(one)]; });
    const auto at = static_cast<std::size_t>(key);
    const double own = candidate_.scores != nullptr ? candidate_.scores->row(row)[at] : kNan;
    add_worst({.index = element(row, key),
               .candidate = own,
               .baseline = baseline_.scores->row(row)[at],
               .truth = truth[at],
               .ulps = std::isfinite(truth[at]) ? std::abs(own - truth[at]) /
                                                      core::ulp(truth[at], baseline_.scores->dtype)
                                                : kInfinity,
               .share = margin / allowed_margin_});
  }

  /// The first position whose index is not the expected one; candidate and truth are then indices.
  void add_wrong_position(std::size_t row, std::vector<std::int64_t> expected) {
    const auto chosen = candidate_.indices->row(row);
    expected.resize(chosen.size(), -1);
    for (std::size_t position = 0; position < chosen.size(); ++position) {
      const auto wanted = static_cast<double>(expected[position]);
      if (chosen[position] != wanted) {
        add_worst({.index = element(row, static_cast<std::int64_t>(position)),
                   .candidate = chosen[position],
                   .baseline =
                       baseline_.indices != nullptr ? baseline_.indices->row(row)[position] : kNan,
                   .truth = wanted,
                   .ulps = std::abs(chosen[position] - wanted),
                   .share = kInfinity});
        return;
      }
    }
  }

  std::vector<std::int64_t> element(std::size_t row, std::int64_t last) const {
    const std::vector<std::int64_t> leading(truth_.shape.begin(), truth_.shape.end() - 1);
    std::vector<std::int64_t> path = index_path(leading, row);
    path.push_back(last);
    return path;
  }

  void add_worst(WorstElement one) {
    auto& worst = result_.comparison.worst;
    const auto position = std::ranges::find_if(
        worst, [&](const WorstElement& other) { return other.share < one.share; });
    worst.insert(position, std::move(one));
    if (worst.size() > kWorstElements) {
      worst.pop_back();
    }
  }

  void finish() {
    const SelectionSummary& summary = result_.summary;
    const auto rows_note = [&](const RowViolations& found, const std::string& what) {
      return found.count == 0 ? what
                              : fmt::format("{}; first violated in row {}", what, found.first);
    };
    if (candidate_.scores != nullptr) {
      add(make_gate("S2", static_cast<double>(not_own_.count), 0, true,
                    rows_note(not_own_, "rows that are not the top k of their own scores")));
    }
    add(make_gate("S3", static_cast<double>(not_valid_.count), 0, true,
                  rows_note(not_valid_, "rows with an index that may not be there")));
    add(make_gate(
        "S4", summary.worst_margin, allowed_margin_, true,
        fmt::format("largest margin of a flip in units of the row's ε; {} flips in {} rows",
                    summary.flips, summary.flipped_rows)));
    const auto selected = static_cast<double>(summary.selected);
    add(make_gate("S4 rate", static_cast<double>(summary.flips) / selected,
                  flip_allowance(summary.baseline_flips) / selected, true,
                  fmt::format("flips over choices; {} flips, the baseline has {}", summary.flips,
                              summary.baseline_flips)));
  }

  bool add(Gate gate) {
    result_.comparison.gates.push_back(std::move(gate));
    return result_.comparison.gates.back().ok;
  }

  const SelectionClaim& claim_;
  const Choice& candidate_;
  const Choice& baseline_;
  const Tensor& truth_;
  const Tensor& truth_of_baseline_;
  double allowed_margin_;
  double typical_error_ = 0;  // of a row's worst score, relative to the row's rms
  RowViolations not_own_;
  RowViolations not_valid_;
  SelectionResult result_;
};

}  // namespace

double flip_allowance(std::int64_t baseline_flips) {
  const auto flips = static_cast<double>(baseline_flips);
  return kFlipFactor * flips + 1 + kFlipSigmas * std::sqrt(flips + 1);
}

SelectionResult compare_selection(const SelectionClaim& claim, const Choice& candidate,
                                  const Choice& baseline, const Tensor& truth_scores,
                                  const Tensor* truth_of_baseline) {
  const auto fills = [](const Tensor* tensor) {
    return tensor == nullptr ||
           element_count(tensor->shape) == static_cast<std::int64_t>(tensor->values.size());
  };
  SPARITY_CHECK(claim.k >= 1 && !truth_scores.shape.empty() && candidate.indices != nullptr &&
                    baseline.scores != nullptr,
                claim.tensor + ": a selection needs k, truth scores, indices and a baseline");
  SPARITY_CHECK(candidate.scores != &truth_scores && candidate.scores != baseline.scores &&
                    baseline.scores != &truth_scores && candidate.indices != baseline.indices,
                claim.tensor + ": a selection is compared with itself");
  SPARITY_CHECK(fills(candidate.scores) && fills(candidate.indices) && fills(&truth_scores) &&
                    fills(truth_of_baseline),
                claim.tensor + ": a tensor's values do not fill its shape");
  SPARITY_CHECK(
      fills(baseline.scores) && baseline.scores->shape == truth_scores.shape &&
          fills(baseline.indices) &&
          (baseline.indices == nullptr ||
           baseline.indices->shape == indices_shape(truth_scores, claim.k)) &&
          (truth_of_baseline == nullptr || truth_of_baseline->shape == truth_scores.shape),
      claim.tensor + ": baseline and truth of a selection have different shapes");
  return SelectionJudgement(claim, candidate, baseline, truth_scores,
                            truth_of_baseline != nullptr ? *truth_of_baseline : truth_scores)
      .run();
}

}  // namespace sparity::judge
