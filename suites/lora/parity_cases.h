#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::lora {

/// One adapted weight by itself.
std::vector<cases::Case> operation_cases();

/// The whole objective through adapters, and the gradient of each of their tensors, on every side.
std::vector<cases::Case> parity_cases();

}  // namespace sparity::suites::lora
