#include "suites/judge/evidence.h"

#include "src/core/dtype.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/structure.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <vector>

namespace sparity::judge {

namespace {

constexpr std::size_t kWorstElements = 5;
constexpr std::int64_t kMapCells = 64;
constexpr int kDecades = 10;

/// Shares of the allowance, element by element.
class Shares {
 public:
  Shares(const Sides& sides, const Allowance& allowance)
      : sides_(sides), allowance_(allowance), rms_(rms(sides.truth.values)) {
    const Tensor& truth = sides.truth;
    const std::size_t width = truth.columns();
    if (allowance.by_row) {
      for (std::size_t r = 0; r < truth.rows(); ++r) {
        row_limits_.push_back(line_limit(r * width, 1, width, *allowance.by_row));
      }
    }
    if (allowance.by_column) {
      for (std::size_t k = 0; k < width; ++k) {
        column_limits_.push_back(line_limit(k, width, truth.rows(), *allowance.by_column));
      }
    }
  }

  /// Error over what the failed gates allow this element; above 1 is a violation.
  double of(std::size_t cell) const {
    if (const auto decided = structural(cell)) {
      return *decided;
    }
    const double truth = std::abs(sides_.truth.values[cell]);
    const double error = std::abs(sides_.candidate.values[cell] - sides_.truth.values[cell]);
    const std::size_t width = sides_.truth.columns();
    double share = 0;
    const auto take = [&](const std::optional<double>& limit, double scale) {
      share = limit ? std::max(share, relative(error, *limit * scale)) : share;
    };
    take(allowance_.absolute, 1);
    take(allowance_.by_element, truth + rms_);
    take(allowance_.by_row ? std::optional(row_limits_[cell / width]) : std::nullopt, 1);
    take(allowance_.by_column ? std::optional(column_limits_[cell % width]) : std::nullopt, 1);
    return share;
  }

  /// Error over what an element is allowed, whichever gate failed: the error map's measure.
  double map_value(std::size_t cell) const {
    if (const auto decided = structural(cell)) {
      return *decided;
    }
    const double error = std::abs(sides_.candidate.values[cell] - sides_.truth.values[cell]);
    return relative(error, allowance_.map_unit * (std::abs(sides_.truth.values[cell]) + rms_));
  }

 private:
  /// What |c−t| may be in one row or column; without bound where the line as a whole is within its
  /// gate.
  double line_limit(std::size_t first, std::size_t stride, std::size_t length, double limit) const {
    std::vector<double> errors(length);
    std::vector<double> truths(length);
    for (std::size_t i = 0; i < length; ++i) {
      const std::size_t cell = first + i * stride;
      truths[i] = sides_.truth.values[cell];
      errors[i] = sides_.candidate.values[cell] - truths[i];
    }
    const double scale = rms(truths) + rms_;
    return relative(rms(errors), scale) > limit ? limit * scale : kInfinity;
  }

  /// The share where it is 0 or infinite whatever the magnitudes are.
  std::optional<double> structural(std::size_t cell) const {
    if (cell_violates_structure(sides_.candidate, sides_.truth, cell)) {
      return kInfinity;
    }
    if (allowance_.structure_only || !std::isfinite(sides_.truth.values[cell])) {
      return 0.0;
    }
    if (allowance_.exact) {
      const bool same = std::bit_cast<std::uint64_t>(sides_.candidate.values[cell]) ==
                        std::bit_cast<std::uint64_t>(sides_.truth.values[cell]);
      return same ? 0.0 : kInfinity;
    }
    return std::nullopt;
  }

  const Sides& sides_;
  const Allowance& allowance_;
  double rms_;
  std::vector<double> row_limits_;
  std::vector<double> column_limits_;
};

double ulps_between(double value, double truth, core::Dtype dtype) {
  if (!std::isfinite(value) || !std::isfinite(truth)) {
    return kInfinity;
  }
  const double error = std::abs(value - truth);
  return core::is_floating(dtype) ? error / core::ulp(truth, dtype) : error;
}

void attach_worst(Comparison& comparison, const Sides& sides, const Shares& shares) {
  struct Found {
    double share;
    double error;
    std::size_t cell;
  };
  // Among infinite shares the larger error first, then the earlier element.
  const auto worse = [](const Found& a, const Found& b) {
    if (a.share != b.share) {
      return a.share > b.share;
    }
    return a.error != b.error ? a.error > b.error : a.cell < b.cell;
  };
  std::vector<Found> found;
  for (std::size_t cell = 0; cell < sides.truth.values.size(); ++cell) {
    const double share = shares.of(cell);
    if (share <= 1) {
      continue;
    }
    const double difference = sides.candidate.values[cell] - sides.truth.values[cell];
    const Found next{share, std::isfinite(difference) ? std::abs(difference) : kInfinity, cell};
    found.insert(std::ranges::upper_bound(found, next, worse), next);
    if (found.size() > kWorstElements) {
      found.pop_back();
    }
  }
  for (const Found& one : found) {
    const double truth = sides.truth.values[one.cell];
    const double value = sides.candidate.values[one.cell];
    comparison.worst.push_back({.index = index_path(sides.truth.shape, one.cell),
                                .candidate = value,
                                .baseline = sides.baseline != nullptr
                                                ? sides.baseline->values[one.cell]
                                                : std::numeric_limits<double>::quiet_NaN(),
                                .truth = truth,
                                .ulps = ulps_between(value, truth, comparison.dtype),
                                .share = one.share});
  }
}

/// k with 10^k ≤ magnitude < 10^(k+1).
int decade(double magnitude) {
  int k = static_cast<int>(std::floor(std::log10(magnitude)));
  // log10 may round across a power of ten.
  if (std::pow(10.0, k) > magnitude) {
    --k;
  } else if (std::pow(10.0, k + 1) <= magnitude) {
    ++k;
  }
  return k;
}

void attach_buckets(Comparison& comparison, const Sides& sides) {
  double largest = 0;
  for (const double value : sides.truth.values) {
    largest = std::isfinite(value) ? std::max(largest, std::abs(value)) : largest;
  }
  const int lowest = (largest > 0 ? decade(largest) : 0) - kDecades + 1;
  struct Gathered {
    CompensatedSum candidate;
    CompensatedSum baseline;
    double largest = 0;
    std::int64_t count = 0;
  };
  std::map<int, Gathered> buckets;
  for (std::size_t cell = 0; cell < sides.truth.values.size(); ++cell) {
    const double truth = sides.truth.values[cell];
    const double error = sides.candidate.values[cell] - truth;
    if (!std::isfinite(truth) || !std::isfinite(error)) {
      continue;
    }
    const int key = truth == 0 ? lowest - 1 : std::max(decade(std::abs(truth)), lowest - 1);
    Gathered& bucket = buckets[key];
    bucket.candidate.add(error * error);
    if (sides.baseline != nullptr) {
      const double baseline_error = sides.baseline->values[cell] - truth;
      bucket.baseline.add(baseline_error * baseline_error);
    }
    bucket.largest = std::max(bucket.largest, std::abs(error));
    ++bucket.count;
  }
  for (const auto& [key, bucket] : buckets) {
    const auto count = static_cast<double>(bucket.count);
    comparison.buckets.push_back({.from = key < lowest ? 0.0 : std::pow(10.0, key),
                                  .to = std::pow(10.0, key + 1),
                                  .count = bucket.count,
                                  .rms_candidate = std::sqrt(bucket.candidate.value() / count),
                                  .rms_baseline = std::sqrt(bucket.baseline.value() / count),
                                  .max_candidate = bucket.largest});
  }
}

void attach_map(Comparison& comparison, const Sides& sides, const Shares& shares) {
  const auto rows = static_cast<std::int64_t>(sides.truth.rows());
  const auto columns = static_cast<std::int64_t>(sides.truth.columns());
  ErrorMap map{
      .rows = std::min(rows, kMapCells), .columns = std::min(columns, kMapCells), .cells = {}};
  map.cells.assign(static_cast<std::size_t>(map.rows * map.columns), 0.0);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t k = 0; k < columns; ++k) {
      const std::int64_t row = r * map.rows / rows;
      const std::int64_t column = k * map.columns / columns;
      double& cell = map.cells[static_cast<std::size_t>(row * map.columns + column)];
      cell = std::max(cell, shares.map_value(static_cast<std::size_t>(r * columns + k)));
    }
  }
  comparison.error_map = std::move(map);
}

}  // namespace

void attach_evidence(Comparison& comparison, const Sides& sides, const Allowance& allowance) {
  const Shares shares(sides, allowance);
  attach_worst(comparison, sides, shares);
  attach_buckets(comparison, sides);
  attach_map(comparison, sides, shares);
}

}  // namespace sparity::judge
