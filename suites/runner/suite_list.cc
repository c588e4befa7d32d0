#include "suites/runner/suite_list.h"

#include "suites/norm/norm_cases.h"

#include <algorithm>
#include <array>

namespace sparity::runner {

namespace {

constexpr std::array kSuites = {
    Suite{"norm", suites::norm_cases},
};

}  // namespace

std::span<const Suite> suites() { return kSuites; }

const Suite* find_suite(std::string_view name) {
  const auto found = std::ranges::find(kSuites, name, &Suite::name);
  return found == kSuites.end() ? nullptr : &*found;
}

}  // namespace sparity::runner
