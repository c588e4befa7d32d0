#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::training {

/// AdamW, clipping and schedules against the reference, and what a step leaves alone.
std::vector<cases::Case> optimizer_cases();

}  // namespace sparity::suites::training
