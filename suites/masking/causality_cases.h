#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::masking {

/// A token reaches itself and later tokens, and nothing else.
std::vector<cases::Case> causality_cases();

}  // namespace sparity::suites::masking
