#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// The router: scores, the choice of groups and experts, weights (spec 2.11).
std::vector<cases::Case> routing_cases();

}  // namespace sparity::suites
