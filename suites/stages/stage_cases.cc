#include "suites/stages/stage_cases.h"

#include "suites/stages/parity_cases.h"
#include "suites/stages/path_cases.h"
#include "suites/stages/resume_cases.h"
#include "suites/stages/step_cases.h"

#include <algorithm>
#include <iterator>

namespace sparity::suites {

std::vector<cases::Case> stage_cases() {
  std::vector<cases::Case> all = stages::path_cases();
  std::ranges::move(stages::step_cases(), std::back_inserter(all));
  std::ranges::move(stages::resume_cases(), std::back_inserter(all));
  std::ranges::move(stages::parity_cases(), std::back_inserter(all));
  return all;
}

}  // namespace sparity::suites
