#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::gradients {

/// Which parameters the LM loss reaches: none, exactly zero, and other than zero are three
/// different answers (verification b.5).
std::vector<cases::Case> path_cases();

}  // namespace sparity::suites::gradients
