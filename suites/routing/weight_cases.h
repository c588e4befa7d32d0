#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::routing {

/// What weight the chosen experts get, from given scores and choices.
std::vector<cases::Case> weight_cases();

}  // namespace sparity::suites::routing
