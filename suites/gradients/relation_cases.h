#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::gradients {

/// What must hold between gradients of two runs: linear in the cotangent, indifferent to the order
/// of the batch and to padding, and causal.
std::vector<cases::Case> relation_cases();

}  // namespace sparity::suites::gradients
