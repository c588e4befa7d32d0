#pragma once

#include "suites/judge/gates.h"
#include "suites/judge/tensor.h"

#include <cstdint>
#include <string>
#include <vector>

namespace sparity::judge {

/// What is structurally wrong with one tensor against the truth.
struct StructureFindings {
  std::int64_t violations = 0;
  std::string note;        // the first violation in words
  bool comparable = true;  // same shape: elements can be paired
};

/// Whether element `cell` is NaN, not a value of its dtype, or not finite, +inf or −inf as the
/// truth's is. Shapes are equal.
bool cell_violates_structure(const Tensor& x, const Tensor& truth, std::size_t cell);

/// G0 of `x` (candidate or baseline): shape as the truth's, dtype as expected, every value a value
/// of its dtype, non-finite cells as in the truth, sign included, NaN nowhere.
StructureFindings examine_structure(const Tensor& x, core::Dtype expected, const Tensor& truth);

/// Whether the truth is fit to judge by. `precision` is the dtype of the computation judged; null
/// when the claim is exact, which asks for no finer truth.
StructureFindings examine_truth(const Tensor& truth, const core::Dtype* precision);

}  // namespace sparity::judge
