#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::training {

/// Which loss reaches which parameters: nothing, exact zeros, or a gradient (spec 4.4,
/// verification b.5).
std::vector<cases::Case> path_cases();

}  // namespace sparity::suites::training
