#include "suites/judge/gates.h"

#include "src/core/error.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/evidence.h"
#include "suites/judge/line_errors.h"
#include "suites/judge/ratio_gates.h"
#include "suites/judge/structure.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <iterator>
#include <utility>
#include <vector>

namespace sparity::judge {

namespace {

using core::Dtype;

void check_operands(const TensorClaim& claim, const Tensor& candidate, const Tensor* baseline,
                    const Tensor& truth) {
  const auto fills = [](const Tensor& tensor) {
    return element_count(tensor.shape) == static_cast<std::int64_t>(tensor.values.size());
  };
  SPARITY_CHECK(&candidate != &truth && &candidate != baseline && baseline != &truth,
                claim.tensor + ": a tensor is compared with itself");
  SPARITY_CHECK(fills(candidate) && fills(truth) && (baseline == nullptr || fills(*baseline)),
                claim.tensor + ": a tensor's values do not fill its shape");
}

bool same_bits(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

std::int64_t count_differing(const Tensor& a, const Tensor& b) {
  std::int64_t differing = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    differing += same_bits(a.values[i], b.values[i]) ? 0 : 1;
  }
  return differing;
}

/// A rounded computation that equals the truth to the last bit everywhere, while an honest one in
/// the same dtype misses it in most places: the "truth" was made from the candidate's values.
bool truth_is_the_candidates(const Tensor& candidate, const Tensor& baseline, const Tensor& truth) {
  const auto elements = static_cast<std::int64_t>(truth.values.size());
  return elements >= kFewElements && count_differing(candidate, truth) == 0 &&
         2 * count_differing(baseline, truth) > elements;
}

Gate structure_gate(std::string name, const StructureFindings& findings) {
  const std::string more =
      findings.violations > 1 ? fmt::format("; {} violations in all", findings.violations) : "";
  return make_gate(std::move(name), static_cast<double>(findings.violations), 0, true,
                   findings.note + more);
}

/// One comparison under way.
class Judgement {
 public:
  Judgement(const TensorClaim& claim, const Tensor& candidate, const Tensor* baseline,
            const Tensor& truth, std::span<const Tensor> further)
      : claim_(claim),
        candidate_(candidate),
        baseline_(baseline),
        truth_(truth),
        further_(further),
        exact_(claim.exact || !core::is_floating(candidate.dtype)),
        precision_(claim.computed_in.value_or(candidate.dtype)) {
    if (!exact_ && precision_ == Dtype::kF64) {
      baseline_ = nullptr;
    }
    result_.tensor = claim.tensor;
    result_.dtype = candidate.dtype;
    result_.shape = candidate.shape;
  }

  Comparison run() {
    if (!judge_truth() || !judge_structure()) {
      return std::move(result_);
    }
    const bool baseline_fits = judge_baseline_structure();
    measure_sides(baseline_fits);
    if (exact_) {
      judge_exactness(baseline_fits);
    } else if (precision_ == Dtype::kF64) {
      judge_bound();
    } else if (baseline_fits && claim_.magnitude &&
               errors_.rms_truth <= kResidue * *claim_.magnitude) {
      judge_zeros();
    } else if (baseline_fits) {
      judge_ratios();
      judge_lost(Axis::kRow);
      judge_lost(Axis::kColumn);
    }
    return std::move(result_);
  }

 private:
  bool judge_truth() {
    StructureFindings findings = examine_truth(truth_, exact_ ? nullptr : &precision_);
    if (!exact_ && baseline_ != nullptr && candidate_.shape == truth_.shape &&
        baseline_->shape == truth_.shape &&
        truth_is_the_candidates(candidate_, *baseline_, truth_)) {
      ++findings.violations;
      findings.note = "the truth is the candidate's own values";
    }
    return add(structure_gate("truth", findings));
  }

  bool judge_structure() {
    const Dtype expected =
        claim_.expected_dtype.value_or(baseline_ != nullptr ? baseline_->dtype : candidate_.dtype);
    const StructureFindings findings = examine_structure(candidate_, expected, truth_);
    if (add(structure_gate("G0", findings))) {
      return true;
    }
    if (findings.comparable) {
      attach_evidence(result_, sides(truth_), {.structure_only = true});
    }
    return false;
  }

  /// Only a broken structure is recorded here; the baseline's size of error is, in measure_sides.
  bool judge_baseline_structure() {
    if (baseline_ == nullptr) {
      return true;
    }
    const StructureFindings findings = examine_structure(*baseline_, candidate_.dtype, truth_);
    return findings.violations == 0 || add(structure_gate("baseline", findings));
  }

  void measure_sides(bool baseline_fits) {
    errors_ = measure(candidate_, truth_, claim_.both_axes);
    result_.rms_truth = errors_.rms_truth;
    result_.rms_candidate_error = errors_.rms_error;
    result_.relative_l2 = relative(errors_.rms_error, errors_.rms_truth);
    result_.cosine = errors_.cosine;
    result_.calc_diff = errors_.calc_diff;
    if (baseline_ == nullptr || !baseline_fits) {
      return;
    }
    honest_ = measure(*baseline_, truth_, claim_.both_axes);
    result_.rms_baseline_error = honest_.rms_error;
    if (!core::is_floating(precision_)) {
      return;
    }
    Gate gate = make_gate(
        "baseline", honest_.rms_error,
        kBaselineFactor * a_priori_error(precision_, claim_.reduction_length) * magnitude() +
            claim_.slack,
        true,
        fmt::format("the baseline's own error; reduction length {}", claim_.reduction_length));
    if (gate.ok || claim_.conditioned) {
      add(std::move(gate));
    } else {
      result_.undecided = fmt::format(
          "ill-conditioned: honest arithmetic in this dtype errs by {:.2g} of the signal, beyond "
          "what rounding explains",
          relative(honest_.rms_error, errors_.rms_truth));
    }
  }

  void judge_exactness(bool baseline_fits) {
    Tensor reference = baseline_ != nullptr && baseline_fits ? *baseline_ : truth_;
    if (core::is_floating(candidate_.dtype)) {
      for (double& value : reference.values) {
        value = rounded(value, candidate_.dtype);
      }
    }
    const auto differing = static_cast<double>(count_differing(candidate_, reference));
    const bool ok = add(make_gate("exact", differing, 0, true,
                                  baseline_ != nullptr
                                      ? "elements whose bits differ from the baseline's"
                                      : "elements whose bits differ from the rounded truth's"));
    if (!ok) {
      attach_evidence(result_, sides(reference), {.exact = true});
    }
  }

  void judge_lost(Axis axis) {
    const LostLines lost = lost_lines(axis, candidate_, honest_runs(), truth_);
    const bool rows = axis == Axis::kRow;
    if (!add(make_gate(
            rows ? "lost" : "lost columns", static_cast<double>(lost.count), 0, true,
            fmt::format(
                "{} of zeros where the truth has none{}", rows ? "rows" : "columns",
                lost.count > 0 ? fmt::format("; the first is {}", lost.first) : std::string())))) {
      attach_evidence(result_, sides(truth_), {.absolute = 0.0});
    }
  }

  void judge_bound() {
    const double limit = kF64Factor * std::sqrt(static_cast<double>(claim_.reduction_length)) *
                         core::unit_roundoff(Dtype::kF64);
    const double rhs = limit * errors_.rms_truth;
    const bool ok =
        add(make_gate("bound", errors_.rms_error, rhs, true,
                      fmt::format("global error, reduction length {}", claim_.reduction_length)));
    if (!ok) {
      attach_evidence(result_, sides(truth_), {.absolute = rhs, .map_unit = limit});
    }
  }

  /// The truth is zero but for what its own cancellation leaves: the logit of a single key has no
  /// gradient, nor has a router whose one weight is always 1. No ratio is formed with it.
  void judge_zeros() {
    double most =
        kNoBaselineFactor * a_priori_error(precision_, claim_.reduction_length) * *claim_.magnitude;
    for (const Tensor* run : honest_runs()) {
      most = std::max(most, kFewSamplesFactor * factors(claim_.direction, precision_).global *
                                measure(*run, truth_).rms_error);
    }
    if (!add(make_gate("G1", errors_.rms_error, most, true,
                       "the truth is zero: judged by the size of what was summed"))) {
      attach_evidence(result_, sides(truth_), {.absolute = most});
    }
  }

  void judge_ratios() {
    RatioJudgement ratios =
        judge::judge_ratios({claim_, candidate_, honest_runs(), truth_, precision_}, errors_);
    if (result_.undecided.empty()) {
      result_.undecided = std::move(ratios.undecided);
    }
    const bool decides = result_.undecided.empty();
    for (Gate& gate : ratios.gates) {
      gate.blocking = decides;
      result_.gates.push_back(std::move(gate));
    }
    if (!result_.passed()) {
      attach_evidence(result_, sides(truth_), ratios.allowance);
    }
  }

  /// Baseline and further runs.
  std::vector<const Tensor*> honest_runs() const {
    std::vector<const Tensor*> runs;
    if (baseline_ != nullptr) {
      runs.push_back(baseline_);
      for (const Tensor& run : further_) {
        runs.push_back(&run);
      }
    }
    return runs;
  }

  /// What a-priori errors are relative to.
  double magnitude() const { return std::max(errors_.rms_truth, claim_.magnitude.value_or(0.0)); }

  bool add(Gate gate) {
    result_.gates.push_back(std::move(gate));
    return result_.gates.back().ok;
  }

  /// The baseline takes part only where its elements can be paired.
  Sides sides(const Tensor& against) const {
    const bool paired = baseline_ != nullptr && baseline_->shape == against.shape;
    return {candidate_, paired ? baseline_ : nullptr, against};
  }

  const TensorClaim& claim_;
  const Tensor& candidate_;
  const Tensor* baseline_;
  const Tensor& truth_;
  std::span<const Tensor> further_;
  bool exact_;
  Dtype precision_;
  ErrorStats errors_;
  ErrorStats honest_;
  Comparison result_;
};

}  // namespace

Gate make_gate(std::string name, double lhs, double rhs, bool blocking, std::string note) {
  return {.name = std::move(name),
          .lhs = lhs,
          .rhs = rhs,
          .ok = std::isfinite(lhs) && std::isfinite(rhs) && lhs <= rhs,
          .blocking = blocking,
          .note = std::move(note)};
}

bool is_harness_gate(const Gate& gate) { return gate.name == "truth" || gate.name == "baseline"; }

Comparison compare(const TensorClaim& claim, const Tensor& candidate, const Tensor* baseline,
                   const Tensor& truth, std::span<const Tensor> further) {
  check_operands(claim, candidate, baseline, truth);
  return Judgement(claim, candidate, baseline, truth, further).run();
}

}  // namespace sparity::judge
