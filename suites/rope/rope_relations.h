#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// What rotations must satisfy whatever computes them: position 0 turns nothing, a common shift of
/// positions leaves dot products alone, and the two layouts differ by a permutation of channels.
std::vector<cases::Case> rope_relation_cases();

}  // namespace sparity::suites
