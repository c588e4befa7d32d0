#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::gradients {

/// Bits of the candidate's gradients: the same from run to run, with any number of threads in every
/// fused operation, and whether layers are kept or run again on the way back.
std::vector<cases::Case> bitwise_cases();

}  // namespace sparity::suites::gradients
