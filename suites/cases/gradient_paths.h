#pragma once

#include "src/core/tensor_manifest.h"
#include "suites/cases/gradients.h"

#include <functional>
#include <string>

namespace sparity::cases {

/// What arrives at a parameter on the way back. No gradient is not a gradient of zeros.
enum class Arrival { kNone, kZero, kNonZero };

/// What `run` left at a parameter. NaN is not zero.
Arrival arrival_at(const BackwardTrace& run, const std::string& parameter);

/// What a loss leaves at a parameter that it reaches: a gradient other than zero, on the embedded
/// model without exception. Another model, or other inputs, may leave nothing but exact zeros, by
/// the reference's account: where each query has one key, a softmax passes nothing on.
Arrival arrival_where_reached(const SuiteContext& context, const BackwardTrace& truth,
                              const std::string& parameter);

/// Whether the truth's gradient of a parameter is what cancellation left of zero: below 2⁻⁴⁰ of the
/// largest gradient. A router whose one weight is always 1 has such a one, and whether another
/// dtype leaves exact zeros is chance.
bool is_residue(const BackwardTrace& truth, const std::string& parameter);

/// What a term of the loss is expected to leave at a parameter.
using ExpectedArrival = std::function<Arrival(const core::ParameterSpec&)>;

/// Judges what `run` left at everything that gradients may reach, one comparison each, and adds the
/// row `loss` of the gradient-path grid to `record.paths`: one cell for each role of parameters.
void judge_paths(const SuiteContext& context, const std::string& loss, const BackwardTrace& run,
                 const ExpectedArrival& expected, judge::CaseRecord& record);

}  // namespace sparity::cases
