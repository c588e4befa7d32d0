#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// Next-token cross entropy: which labels count, and what they cost (spec 4.6).
std::vector<cases::Case> loss_cases();

}  // namespace sparity::suites
