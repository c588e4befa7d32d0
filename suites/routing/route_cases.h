#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::routing {

/// The router from hidden states to weights.
std::vector<cases::Case> route_cases();

}  // namespace sparity::suites::routing
