#include "suites/judge/error_stats.h"

#include "src/core/error.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace sparity::judge {

namespace {

/// The power of two that brings the largest finite magnitude into [1, 2); 1 when all are zero.
double power_of_two_scale(std::span<const double> a, std::span<const double> b) {
  double largest = 0;
  for (const auto values : {a, b}) {
    for (const double value : values) {
      if (std::isfinite(value)) {
        largest = std::max(largest, std::abs(value));
      }
    }
  }
  // Beyond ±1000 the inverse would overflow or be subnormal.
  return largest == 0 ? 1.0 : std::ldexp(1.0, std::clamp(-std::ilogb(largest), -1000, 1000));
}

double root_of_mean(const CompensatedSum& squares, std::int64_t count) {
  return count == 0 ? 0 : std::sqrt(squares.value() / static_cast<double>(count));
}

/// Squares of errors and truths of one line (row or column) of a matrix.
struct Line {
  CompensatedSum error;
  CompensatedSum truth;
  std::int64_t count = 0;

  void add(double scaled_error, double scaled_truth) {
    error.add(scaled_error * scaled_error);
    truth.add(scaled_truth * scaled_truth);
    ++count;
  }
};

struct WorstLine {
  double value = 0;
  std::size_t index = 0;
};

/// max over lines of ρ_line(x−t) / (ρ_line(t) + ρ(t)); lines without a cell are left out.
WorstLine worst_line(std::span<const Line> lines, double scaled_rms_truth) {
  WorstLine worst;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Line& line = lines[i];
    const double value = relative(root_of_mean(line.error, line.count),
                                  root_of_mean(line.truth, line.count) + scaled_rms_truth);
    if (value > worst.value) {
      worst = {value, i};
    }
  }
  return worst;
}

struct Totals {
  Line all;
  CompensatedSum value_squares;
  CompensatedSum products;
  CompensatedSum along_truth;
  CompensatedSum fourth_powers;
};

void set_whole_tensor(ErrorStats& stats, const Totals& totals, double scale) {
  const double truth = totals.all.truth.value();
  const double value = totals.value_squares.value();
  stats.count = totals.all.count;
  stats.rms_truth = root_of_mean(totals.all.truth, stats.count) / scale;
  stats.rms_error = root_of_mean(totals.all.error, stats.count) / scale;
  if (truth > 0) {
    stats.effective_cells = truth * truth / totals.fourth_powers.value();
    stats.slope = totals.along_truth.value() / truth;
  }
  if (truth > 0 && value > 0) {
    stats.cosine = totals.products.value() / (std::sqrt(truth) * std::sqrt(value));
  } else {
    stats.cosine = truth == value ? 1 : 0;
  }
  stats.calc_diff = relative(totals.all.error.value(), truth + value);
}

}  // namespace

void CompensatedSum::add(double term) {
  const double next = sum_ + term;
  correction_ += std::abs(sum_) >= std::abs(term) ? (sum_ - next) + term : (term - next) + sum_;
  sum_ = next;
}

Finiteness finiteness(double value) {
  if (std::isnan(value)) {
    return Finiteness::kNan;
  }
  if (std::isinf(value)) {
    return value > 0 ? Finiteness::kPlusInfinity : Finiteness::kMinusInfinity;
  }
  return Finiteness::kFinite;
}

double relative(double error, double scale) {
  if (error == 0) {
    return 0;
  }
  return scale > 0 ? error / scale : std::numeric_limits<double>::infinity();
}

double rms(std::span<const double> values) {
  const double scale = power_of_two_scale(values, {});
  CompensatedSum squares;
  std::int64_t count = 0;
  for (const double value : values) {
    if (std::isfinite(value)) {
      const double scaled = value * scale;
      squares.add(scaled * scaled);
      ++count;
    }
  }
  return root_of_mean(squares, count) / scale;
}

ErrorStats measure(const Tensor& x, const Tensor& truth, bool columns) {
  SPARITY_CHECK(x.shape == truth.shape && x.values.size() == truth.values.size(),
                "tensors of different shapes are measured");
  const double scale = power_of_two_scale(x.values, truth.values);
  const std::size_t width = truth.columns();
  std::vector<Line> row_lines(truth.rows());
  std::vector<Line> column_lines(columns ? width : 0);
  Totals totals;
  for (std::size_t i = 0; i < truth.values.size(); ++i) {
    if (!std::isfinite(x.values[i]) || !std::isfinite(truth.values[i])) {
      continue;
    }
    const double t = truth.values[i] * scale;
    const double v = x.values[i] * scale;
    totals.all.add(v - t, t);
    totals.value_squares.add(v * v);
    totals.products.add(v * t);
    totals.along_truth.add((v - t) * t);
    totals.fourth_powers.add(t * t * t * t);
    row_lines[i / width].add(v - t, t);
    if (columns) {
      column_lines[i % width].add(v - t, t);
    }
  }
  ErrorStats stats;
  set_whole_tensor(stats, totals, scale);
  const double scaled_rms_truth = root_of_mean(totals.all.truth, totals.all.count);
  const WorstLine row = worst_line(row_lines, scaled_rms_truth);
  const WorstLine column = worst_line(column_lines, scaled_rms_truth);
  stats.max_row = row.value;
  stats.worst_row = row.index;
  stats.max_column = column.value;
  stats.worst_column = column.index;
  for (std::size_t i = 0; i < truth.values.size(); ++i) {
    if (std::isfinite(x.values[i]) && std::isfinite(truth.values[i])) {
      const double error = std::abs(x.values[i] - truth.values[i]) * scale;
      stats.max_element = std::max(
          stats.max_element, relative(error, std::abs(truth.values[i]) * scale + scaled_rms_truth));
    }
  }
  return stats;
}

}  // namespace sparity::judge
