#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::gradients {

/// The layer chart of the way back: what each layer does to a true gradient of its output, what
/// became of the gradient in the free run, and what the one explains of the other. Its trace has a
/// point for the gradient that each layer's output receives, last layer first, then the
/// embedding's.
std::vector<cases::Case> backward_chart_cases();

}  // namespace sparity::suites::gradients
