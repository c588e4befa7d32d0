#include "suites/judge/structure.h"

#include "src/core/dtype.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/tolerances.h"

#include <fmt/format.h>

#include <algorithm>

namespace sparity::judge {

namespace {

void add_violation(StructureFindings& findings, const std::string& note) {
  if (findings.violations++ == 0) {
    findings.note = note;
  }
}

bool cell_is_sound(double value, double truth, core::Dtype dtype) {
  const Finiteness kind = finiteness(value);
  return kind != Finiteness::kNan && kind == finiteness(truth) && representable(value, dtype);
}

std::string describe_cell(const Tensor& x, const Tensor& truth, std::size_t cell) {
  const double value = x.values[cell];
  const std::string where = describe_shape(index_path(x.shape, cell));
  if (finiteness(value) == finiteness(truth.values[cell])) {
    return fmt::format("{} at {} is no {} value", value, where, core::to_string(x.dtype));
  }
  return fmt::format("{} at {}, where the truth is {}", value, where, truth.values[cell]);
}

}  // namespace

bool cell_violates_structure(const Tensor& x, const Tensor& truth, std::size_t cell) {
  return !cell_is_sound(x.values[cell], truth.values[cell], x.dtype);
}

StructureFindings examine_structure(const Tensor& x, core::Dtype expected, const Tensor& truth) {
  StructureFindings findings;
  if (x.dtype != expected) {
    add_violation(findings, fmt::format("expected dtype {}, found {}", core::to_string(expected),
                                        core::to_string(x.dtype)));
  }
  if (x.shape != truth.shape) {
    add_violation(findings, fmt::format("expected shape {}, found {}", describe_shape(truth.shape),
                                        describe_shape(x.shape)));
    findings.comparable = false;
    return findings;
  }
  for (std::size_t cell = 0; cell < x.values.size(); ++cell) {
    if (cell_violates_structure(x, truth, cell)) {
      add_violation(findings, findings.violations == 0 ? describe_cell(x, truth, cell) : "");
    }
  }
  return findings;
}

StructureFindings examine_truth(const Tensor& truth, const core::Dtype* precision) {
  StructureFindings findings;
  if (precision != nullptr && truth.dtype != core::Dtype::kF64) {
    const bool finer =
        core::is_floating(truth.dtype) &&
        core::unit_roundoff(truth.dtype) * kTruthFinerThan <= core::unit_roundoff(*precision);
    if (!finer) {
      add_violation(findings,
                    fmt::format("a {} truth is too coarse to judge a {} computation by",
                                core::to_string(truth.dtype), core::to_string(*precision)));
    }
  }
  bool any_finite = false;
  for (std::size_t cell = 0; cell < truth.values.size(); ++cell) {
    const Finiteness kind = finiteness(truth.values[cell]);
    any_finite = any_finite || kind == Finiteness::kFinite;
    if (kind == Finiteness::kNan) {
      add_violation(findings,
                    "the truth is NaN at " + describe_shape(index_path(truth.shape, cell)));
    }
  }
  if (!any_finite) {
    add_violation(findings, "the truth has no finite element: nothing would be compared");
  }
  return findings;
}

}  // namespace sparity::judge
