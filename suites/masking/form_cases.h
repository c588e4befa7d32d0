#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::masking {

/// The whole model under every mask form, against the reference.
std::vector<cases::Case> form_cases();

}  // namespace sparity::suites::masking
