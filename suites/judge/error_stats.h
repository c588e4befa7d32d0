#pragma once

#include "suites/judge/tensor.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace sparity::judge {

/// Neumaier's compensated sum: the error does not grow with the number of terms.
class CompensatedSum {
 public:
  void add(double term);
  double value() const { return sum_ + correction_; }

 private:
  double sum_ = 0;
  double correction_ = 0;
};

/// Kind of a value, as far as masks are concerned.
enum class Finiteness { kFinite, kPlusInfinity, kMinusInfinity, kNan };
Finiteness finiteness(double value);

/// Root mean square of the finite elements; 0 when there are none. Free of overflow and underflow.
double rms(std::span<const double> values);

/// How far `x` is from `t`, over the cells where both are finite. ρ is the root mean square; r is a
/// row, k a column. All in float64, sums compensated, squares scaled by a power of two.
struct ErrorStats {
  std::int64_t count = 0;  // cells taken in
  double rms_truth = 0;    // ρ(t)
  double rms_error = 0;    // ρ(x−t)
  /// (Σt²)² / Σt⁴: how many cells hold the truth's energy; 1 when one outweighs all others.
  double effective_cells = 0;
  double max_row = 0;      // max_r ρ_r(x−t) / (ρ_r(t) + ρ(t)); 0/0 is 0
  double max_column = 0;   // the same over columns
  double max_element = 0;  // max |x−t| / (|t| + ρ(t))
  double slope = 0;  // ⟨x−t, t⟩ / ⟨t, t⟩: the factor that all of x is off by; 0 when t is 0
  double cosine = 1;  // 1 when both are all zero, 0 when one is
  double calc_diff = 0;  // Σ(x−t)² / (Σx² + Σt²) = 1 − 2Σxt / (Σx² + Σt²); a squared measure
  std::size_t worst_row = 0;
  std::size_t worst_column = 0;
};

/// Shapes must be equal. Columns are measured only when `columns` is set.
ErrorStats measure(const Tensor& x, const Tensor& truth, bool columns = false);

/// `error` relative to `scale`; 0/0 is 0: a tensor of zeros demands zeros.
double relative(double error, double scale);

}  // namespace sparity::judge
