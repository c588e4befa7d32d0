#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::stages {

/// The gradient-path matrix: what each loss of a stage, differentiated alone, leaves at every
/// parameter.
std::vector<cases::Case> path_cases();

}  // namespace sparity::suites::stages
