#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::training {

/// Objectives of training, value and gradient, against the reference: KL alone and beside the LM
/// loss, with every detachment, and the balance loss in its variants.
std::vector<cases::Case> objective_cases();

}  // namespace sparity::suites::training
