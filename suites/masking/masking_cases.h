#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// Who may see whom: causality, padding, caller's masks in every spelling (spec 4.2; D-14, D-15,
/// D-18, D-25, D-26).
std::vector<cases::Case> masking_cases();

}  // namespace sparity::suites
