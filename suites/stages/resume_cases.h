#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::stages {

/// A run that goes on from what a checkpoint holds, in a trainer of its own, is the unbroken one
/// bit by bit; and validation counts batches as a step counts its micro-batches.
std::vector<cases::Case> resume_cases();

}  // namespace sparity::suites::stages
