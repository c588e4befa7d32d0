#include "suites/judge/ratio_gates.h"

#include "suites/judge/line_errors.h"
#include "suites/judge/tolerances.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace sparity::judge {

namespace {

/// What honest runs err by: of each measure the worst of them.
struct Yardstick {
  double rms_error = 0;
  double max_row = 0;
  double max_column = 0;
  double max_element = 0;
  double slope = 0;

  void take(const ErrorStats& run) {
    rms_error = std::max(rms_error, run.rms_error);
    max_row = std::max(max_row, run.max_row);
    max_column = std::max(max_column, run.max_column);
    max_element = std::max(max_element, run.max_element);
    slope = std::max(slope, std::abs(run.slope));
  }
};

/// Beside several honest runs it is enough to know few samples from many.
double few_samples_factor(const RatioSides& sides, const ErrorStats& errors) {
  const bool few = sides.claim.samples.value_or(kFewSamples) < kFewSamples ||
                   errors.effective_cells < static_cast<double>(kFewSamples);
  const double by_runs = few ? kFewSamplesFactor : 1.0;
  return sides.honest.size() > 1 ? by_runs : widening(sides.claim.samples);
}

/// The gates of one comparison under way.
class Ratios {
 public:
  Ratios(const RatioSides& sides, const ErrorStats& errors)
      : sides_(sides),
        claim_(sides.claim),
        errors_(errors),
        u_(core::unit_roundoff(sides.precision)),
        a_priori_(a_priori_error(sides.precision, claim_.reduction_length)),
        accumulated_(a_priori_ - u_),
        factors_(factors(claim_.direction, sides.precision)),
        widening_(few_samples_factor(sides, errors)) {}

  RatioJudgement run() {
    measure_honest();
    judge_global();
    if (errors_.rms_truth > 0) {  // the others are relative to it
      judge_worst();
      judge_slope();
      judge_lines();
    }
    return std::move(result_);
  }

 private:
  void measure_honest() {
    for (const Tensor* run : sides_.honest) {
      honest_.take(measure(*run, sides_.truth, claim_.both_axes));
    }
    if (widening_ > 1 && sides_.honest.size() < 2) {
      source_ =
          fmt::format("factors times {:.3g}, for few tokens ({}); ", widening_, *claim_.samples);
    }
    if (sides_.honest.empty()) {
      const double most = kNoBaselineFactor * a_priori_;
      const double worst = 2 * most / factors_.worst;
      honest_ = {most * errors_.rms_truth / factors_.global, worst, worst, worst,
                 most / factors_.slope};
      source_ += fmt::format("no baseline: judged by the weaker rule 16·(u + √K·u_acc), K = {}; ",
                             claim_.reduction_length);
    } else if (sides_.honest.size() > 1) {
      source_ = fmt::format("beside the worst of {} honest runs; ", sides_.honest.size());
    }
  }

  /// (w − 1) a-priori errors of what was summed: one run of few samples may be right by luck.
  double luck() const {
    if (sides_.honest.size() > 1) {
      return 0;
    }
    return (widening_ - 1) * a_priori_ *
           std::max(errors_.rms_truth, claim_.magnitude.value_or(0.0));
  }

  void judge_global() {
    const double floor =
        rounding_floor(errors_.count, sides_.honest.size() > 1) * u_ + accumulated_;
    const double limit =
        widening_ * factors_.global * honest_.rms_error + luck() + floor * errors_.rms_truth;
    if (limit >= kMostOfSignal * errors_.rms_truth && errors_.rms_truth > 0 &&
        honest_.rms_error > 0) {
      result_.undecided = fmt::format(
          "ill-conditioned: honest arithmetic in this dtype errs by {:.2g} of the signal",
          honest_.rms_error / errors_.rms_truth);
    }
    if (!add("G1", errors_.rms_error, limit, "global error")) {
      result_.allowance.absolute = limit;
    }
  }

  void judge_worst() {
    const double floor = u_ + accumulated_ + relative(luck(), errors_.rms_truth);
    const double factor = widening_ * factors_.worst;
    const double by_element = factor * honest_.max_element + floor;
    result_.allowance.map_unit = by_element;
    if (!add("G2", errors_.max_row, factor * honest_.max_row + floor,
             fmt::format("worst row {}", errors_.worst_row))) {
      result_.allowance.by_row = factor * honest_.max_row + floor;
    }
    if (claim_.both_axes && !add("G2c", errors_.max_column, factor * honest_.max_column + floor,
                                 fmt::format("worst column {}", errors_.worst_column))) {
      result_.allowance.by_column = factor * honest_.max_column + floor;
    }
    if (!add("G3", errors_.max_element, by_element, "worst element")) {
      result_.allowance.by_element = by_element;
    }
  }

  void judge_slope() {
    if (errors_.count < kFewElements) {
      return;  // its errors are its slope
    }
    const double spread = kSlopeShare * relative(honest_.rms_error, errors_.rms_truth);
    const double limit = widening_ * factors_.slope * (honest_.slope + spread) +
                         rounding_floor(errors_.count, true) * u_ + accumulated_ +
                         relative(luck(), errors_.rms_truth);
    if (!add("G4", std::abs(errors_.slope), limit,
             fmt::format("common factor of the errors, {:+.2g}", errors_.slope))) {
      result_.allowance.absolute = limit * errors_.rms_truth;
    }
  }

  void judge_lines() {
    // Gradients of one line are rounded beside those of others that they are summed with.
    const double rounded = rounding_floor(errors_.count, true) * u_;
    const bool is_gradient = claim_.direction == Direction::kBackward;
    const LineFloors floors{rounded + accumulated_, accumulated_ + (is_gradient ? rounded : 0.0) +
                                                        relative(luck(), errors_.rms_truth)};
    const std::vector<std::pair<Axis, std::string>> axes = {{Axis::kRow, "G5"},
                                                            {Axis::kColumn, "G5c"}};
    for (const auto& [axis, name] : axes) {
      if ((axis == Axis::kColumn && !claim_.both_axes) || sides_.honest.empty()) {
        continue;
      }
      if (const auto ratio =
              median_line_ratio(axis, sides_.candidate, sides_.honest, sides_.truth, floors)) {
        add(name, *ratio, widening_ * factors_.median,
            axis == Axis::kRow ? "the median row's error over its own honest error"
                               : "the median column's error over its own honest error");
      }
    }
  }

  bool add(const std::string& name, double lhs, double rhs, const std::string& note) {
    result_.gates.push_back(make_gate(name, lhs, rhs, true, source_ + note));
    return result_.gates.back().ok;
  }

  const RatioSides& sides_;
  const TensorClaim& claim_;
  const ErrorStats& errors_;
  double u_;
  double a_priori_;
  double accumulated_;  // √K·u_acc
  Factors factors_;
  double widening_;
  Yardstick honest_;
  std::string source_;
  RatioJudgement result_;
};

}  // namespace

RatioJudgement judge_ratios(const RatioSides& sides, const ErrorStats& errors) {
  return Ratios(sides, errors).run();
}

}  // namespace sparity::judge
