#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::gradients {

/// Every step of the way back alone. All three sides run with the truth's intermediates, and each
/// gradient that arrives is replaced, behind the place where it is captured, by the truth's: what
/// is captured shows the error of the one step before it. The first that fails is the wrong one.
std::vector<cases::Case> step_cases();

}  // namespace sparity::suites::gradients
