#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// Everything about the backward pass, the nearest to the cause first.
std::vector<cases::Case> gradient_cases();

}  // namespace sparity::suites
