#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::training {

/// What a run does around its steps: validation over unequal batches against the reference, under
/// every reduction of the KL loss; and the order in which it takes rows.
std::vector<cases::Case> run_cases();

}  // namespace sparity::suites::training
