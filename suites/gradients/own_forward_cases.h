#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::gradients {

/// The candidate's backward against its own forward in float64 (verification b.5): the adjoint
/// identity of every fused operation and each of its inputs, and the Taylor remainder of the whole
/// model with its choices held fixed. No reference takes part.
std::vector<cases::Case> own_forward_cases();

}  // namespace sparity::suites::gradients
