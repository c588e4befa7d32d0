#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// Every layer alone, on the truth's own input rounded to the activation dtype (teacher forcing):
/// which tensor goes wrong first, free of what layers before it did.
std::vector<cases::Case> block_cases();

}  // namespace sparity::suites
