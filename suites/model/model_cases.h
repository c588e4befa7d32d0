#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// The whole model, end to end.
std::vector<cases::Case> model_cases();

}  // namespace sparity::suites
