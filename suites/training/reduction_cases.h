#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::training {

/// Every reduction of the KL loss, and every target over every support, on one and the same input:
/// against the reference, and reductions against each other (spec 4.2, 4.5). Each is recorded as a
/// reading.
std::vector<cases::Case> reduction_cases();

}  // namespace sparity::suites::training
