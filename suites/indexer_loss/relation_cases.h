#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::indexer_loss {

/// What must hold of the candidate's KL loss whatever its inputs are: identities of the divergence,
/// of its gradient and of its target.
std::vector<cases::Case> relation_cases();

}  // namespace sparity::suites::indexer_loss
