#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::routing {

/// Which experts a token goes to, from given scores.
std::vector<cases::Case> choice_cases();

}  // namespace sparity::suites::routing
