#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// The lightning indexer's queries, keys, head weights and scores, and its Hadamard transform
/// (spec 2.9). Which keys follow from the scores is the selection suite's subject.
std::vector<cases::Case> indexer_cases();

}  // namespace sparity::suites
