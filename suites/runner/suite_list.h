#pragma once

#include "suites/cases/case.h"

#include <span>
#include <string_view>
#include <vector>

namespace sparity::runner {

/// A suite: its name, and the function that lists its cases.
struct Suite {
  std::string_view name;
  std::vector<cases::Case> (*cases)();
};

/// Every suite, from primitives to the whole model: the first to fail is nearest to the cause.
std::span<const Suite> suites();

/// The suite of that name, or null.
const Suite* find_suite(std::string_view name);

}  // namespace sparity::runner
