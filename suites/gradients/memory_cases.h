#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::gradients {

/// Memory of the candidate, counted at LibTorch's allocator: what a layer keeps for the way back is
/// what docs/numerics.md says, nothing grows with the square of the length, and layers that are run
/// again keep their input alone.
std::vector<cases::Case> memory_cases();

}  // namespace sparity::suites::gradients
