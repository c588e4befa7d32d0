#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::lora {

/// Which adapters each loss reaches.
std::vector<cases::Case> path_cases();

}  // namespace sparity::suites::lora
