#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::training {

/// Micro-batches of unequal length, divided by the whole batch's items, add up to the whole batch;
/// layers that are run again leave the same bits under every loss.
std::vector<cases::Case> accumulation_cases();

}  // namespace sparity::suites::training
