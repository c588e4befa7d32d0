#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// The choice of keys: exact, valid, stable under ties, and explained by score errors alone where
/// it differs from the truth's (verification specification b.6, S1 to S7).
std::vector<cases::Case> selection_cases();

}  // namespace sparity::suites
