#include "suites/stages/stage_cases.h"

#include "suites/stages/path_cases.h"
#include "suites/stages/step_cases.h"

#include <algorithm>
#include <iterator>

namespace sparity::suites {

std::vector<cases::Case> stage_cases() {
  std::vector<cases::Case> all = stages::path_cases();
  std::ranges::move(stages::step_cases(), std::back_inserter(all));
  return all;
}

}  // namespace sparity::suites
