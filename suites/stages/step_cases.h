#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::stages {

/// What a step of each stage changes, and that a frozen indexer chooses as it always did.
std::vector<cases::Case> step_cases();

}  // namespace sparity::suites::stages
