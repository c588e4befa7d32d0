#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// Routed experts, shared experts and their sum (spec 2.10, 2.12).
std::vector<cases::Case> moe_cases();

}  // namespace sparity::suites
