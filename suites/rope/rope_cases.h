#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// Frequencies, rotary tables, both pair layouts, and the softmax scale (spec 2.5 to 2.7).
std::vector<cases::Case> rope_cases();

}  // namespace sparity::suites
