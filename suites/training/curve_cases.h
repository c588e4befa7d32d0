#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::training {

/// Twenty steps of the stage `sparse` on real text, on all three sides from the same weights, each
/// on its own way; the losses are recorded as curves.
std::vector<cases::Case> curve_cases();

}  // namespace sparity::suites::training
