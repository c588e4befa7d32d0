#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::lora {

/// What must hold between runs of the candidate: a new adapter changes nothing, nothing drops out
/// in evaluation, a draw repeats, merging equals adapting.
std::vector<cases::Case> relation_cases();

}  // namespace sparity::suites::lora
