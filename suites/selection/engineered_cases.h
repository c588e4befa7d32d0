#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// `ops::select_keys` on operands whose scores are known by construction: ranks that no rounding
/// can exchange, exact ties, future keys that score highest, rows with few keys or none.
std::vector<cases::Case> engineered_selection_cases();

}  // namespace sparity::suites
