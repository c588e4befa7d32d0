#pragma once

#include "reports/report.h"

#include <string>

namespace sparity::reports {

/// The report in at most 20 lines for a terminal: verdict and why, first divergence, known mistakes
/// that start there, rerun, what did not pass, counts. `colour` adds ANSI colours to the verdicts;
/// nothing else depends on it.
std::string console_summary(const Report& report, bool colour);

}  // namespace sparity::reports
