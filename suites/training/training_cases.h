#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// What a training step minimises and how it steps: objectives, whom each loss reaches,
/// accumulation, AdamW (spec 4).
std::vector<cases::Case> training_cases();

}  // namespace sparity::suites
