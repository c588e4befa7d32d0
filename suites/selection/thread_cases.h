#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// The choice of keys has the same bits for any number of threads.
std::vector<cases::Case> thread_cases();

}  // namespace sparity::suites
