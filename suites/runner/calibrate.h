#pragma once

#include "src/core/error.h"
#include "suites/cases/suite_context.h"
#include "suites/runner/suite_list.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace sparity::runner {

/// What a calibration runs: the cases that `filter` matches, on seeds 1 … `seeds`, each on the
/// model's own inputs or, when lengths are given, on one row of each length.
struct CalibrationPlan {
  int seeds = 0;
  std::vector<std::int64_t> lengths;
  bool one_token = false;  // rows of one token repeated instead of drawn tokens
  std::string filter = "*";
};

/// Runs the suite without any fault and prints as JSON the largest lhs/rhs that each gate saw in
/// each dtype, and every case that did not pass: a false alarm, and exit code 6. `context_for`
/// gives a seed's model.
core::ExitCode calibrate(const Suite& suite, const CalibrationPlan& plan,
                         const std::function<cases::SuiteContext(std::uint64_t)>& context_for);

}  // namespace sparity::runner
