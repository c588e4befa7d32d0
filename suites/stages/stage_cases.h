#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// The stages of training: which loss reaches which parameters in each, what a step changes, and
/// that a frozen indexer goes on choosing as it did.
std::vector<cases::Case> stage_cases();

}  // namespace sparity::suites
