#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::gradients {

/// Gradients of a whole run against the reference's: of every parameter and of every intermediate;
/// of the LM loss and of random cotangents, in both attention modes and under every mask.
std::vector<cases::Case> parity_cases();

}  // namespace sparity::suites::gradients
