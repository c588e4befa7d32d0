#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::training {

/// Every reduction of the KL loss on one and the same input, against the reference and against each
/// other (spec 4.2).
std::vector<cases::Case> reduction_cases();

}  // namespace sparity::suites::training
