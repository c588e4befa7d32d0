#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// RMSNorm, its residual form, and the indexer key's LayerNorm (spec 2.2, 2.3).
std::vector<cases::Case> norm_cases();

}  // namespace sparity::suites
