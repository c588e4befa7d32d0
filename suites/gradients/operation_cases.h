#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::gradients {

/// Attention's way back alone, in the run's dtype, against the reference by automatic
/// differentiation: over several tiles, for which the embedded model's inputs are too short, and
/// where logits are large.
std::vector<cases::Case> operation_cases();

}  // namespace sparity::suites::gradients
