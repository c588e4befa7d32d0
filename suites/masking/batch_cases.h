#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::masking {

/// What must not matter: neighbours in the batch, the content of padding, what comes later.
std::vector<cases::Case> batch_cases();

}  // namespace sparity::suites::masking
