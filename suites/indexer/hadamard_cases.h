#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// The orthonormal Hadamard transform by itself.
std::vector<cases::Case> hadamard_cases();

/// Whether the config's index heads can be transformed; if not, the record says that it's skipped.
bool hadamard_applies(const cases::SuiteContext& context, judge::CaseRecord& record);

}  // namespace sparity::suites
