#pragma once

#include "src/core/error.h"
#include "suites/cases/suite_context.h"
#include "suites/runner/suite_list.h"

#include <cstdint>
#include <functional>

namespace sparity::runner {

/// Runs the suite, without any fault, on seeds 1 … `seeds`, and prints as JSON the largest lhs/rhs
/// that each gate saw in each dtype. Exit code 6 when a seed does not pass: a false alarm.
core::ExitCode calibrate(const Suite& suite, int seeds,
                         const std::function<cases::SuiteContext(std::uint64_t)>& context_for);

}  // namespace sparity::runner
