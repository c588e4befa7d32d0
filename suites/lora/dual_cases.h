#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::lora {

/// Stage dual-lora: two adapters, two optimizers, one forward pass.
std::vector<cases::Case> dual_cases();

}  // namespace sparity::suites::lora
