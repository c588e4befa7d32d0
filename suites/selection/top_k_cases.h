#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// `ops::top_k` by itself, on scores that decide every rule of the order.
std::vector<cases::Case> top_k_cases();

}  // namespace sparity::suites
