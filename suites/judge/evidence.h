#pragma once

#include "suites/judge/record.h"
#include "suites/judge/tensor.h"

#include <optional>

namespace sparity::judge {

/// How far a single element may be off; what is not set does not apply. One is set per failed gate.
struct Allowance {
  /// Of |c−t|: G1 and bound. An rms above it implies an element above it.
  std::optional<double> absolute = std::nullopt;
  /// Of |c−t| / (ρ_r(t)+ρ(t)), r the element's row or column, where that line fails: G2, G2c.
  std::optional<double> by_row = std::nullopt;
  std::optional<double> by_column = std::nullopt;
  /// Of |c−t| / (|t|+ρ(t)): G3.
  std::optional<double> by_element = std::nullopt;
  /// No difference of bits at all: exact.
  bool exact = false;
  /// Only what violates structure is off, and it is off without bound: G0.
  bool structure_only = false;
  /// |c−t| / (|t|+ρ(t)) that reads as 1 in the error map; for exact and G0, cells are 0 or
  /// infinite.
  double map_unit = 0;
};

/// The sides of a failed comparison, of equal shape; `baseline` may be null. Of an exact claim,
/// `truth` is what the bits were compared with.
struct Sides {
  const Tensor& candidate;
  const Tensor* baseline;
  const Tensor& truth;
};

/// Fills `worst` (at most 5, by share of the allowance, never an element within it), `buckets`
/// (decades of |t|, the lowest from 0) and `error_map`.
void attach_evidence(Comparison& comparison, const Sides& sides, const Allowance& allowance);

}  // namespace sparity::judge
