#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::masking {

/// The mask itself, and the indexer's selection under it, without a model around them.
std::vector<cases::Case> local_cases();

}  // namespace sparity::suites::masking
