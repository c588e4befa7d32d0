#pragma once

#include "suites/cases/suite_context.h"
#include "suites/judge/gates.h"
#include "suites/judge/record.h"

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace sparity::cases {

/// One claim of a suite. `run` fills the record's comparisons, selections, trace and conditions;
/// the harness fills the rest, decides the verdict and journals it.
struct Case {
  std::string suite;
  std::string name;  // the claim in words: "rows_without_keys_give_zero"
  std::function<void(const SuiteContext&, judge::CaseRecord&)> run;
};

using TensorMap = std::map<std::string, at::Tensor>;
/// Named results, in order of computation.
using Outputs = std::vector<std::pair<std::string, at::Tensor>>;

/// A claim that one operation of the candidate agrees with the reference's. `reference` is called
/// twice: on the inputs widened to float64 (truth) and on the inputs themselves (baseline).
struct OpClaim {
  std::string suite;
  std::string name;
  std::function<TensorMap(const SuiteContext&)> inputs;
  std::function<Outputs(const SuiteContext&, const TensorMap&)> reference;
  std::function<Outputs(const SuiteContext&, const TensorMap&)> candidate;
  /// Outputs that must be bit-equal to the baseline's.
  std::vector<std::string> exact = {};
  /// Outputs stored wider than the activation dtype that come from values rounded to it on the way:
  /// judged in that dtype's units.
  std::vector<std::string> from_rounded = {};
  /// What the outputs are.
  judge::Direction direction = judge::Direction::kForward;
};

/// The case of an operation: runs the three sides, requires equal sets of output names, judges
/// every output, and requires that the candidate left its inputs as they were.
Case op_case(OpClaim claim);

/// The judge's view of a tensor, every element widened exactly.
judge::Tensor judged(const at::Tensor& tensor);

/// Bitwise equality claimed between two runs of the candidate; one exact comparison named `tensor`.
/// NaN in either fails.
judge::Comparison compare_bits(const std::string& tensor, const at::Tensor& candidate,
                               const at::Tensor& expected);

/// A condition of the harness's making: blocking when it does not hold.
judge::Comparison claim_holds(const std::string& tensor, bool holds, const std::string& note);

/// Runs the case and settles its record: verdict, message, rerun line, seconds. A case that doesn't
/// apply sets the verdict to skip and says why in the message; both stay. An exception becomes a
/// verdict too; none leaves this function but bad input.
judge::CaseRecord run_case(const Case& c, const SuiteContext& context);

}  // namespace sparity::cases
