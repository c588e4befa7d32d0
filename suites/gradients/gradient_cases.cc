#include "suites/gradients/gradient_cases.h"

#include "suites/gradients/backward_chart.h"
#include "suites/gradients/bitwise_cases.h"
#include "suites/gradients/memory_cases.h"
#include "suites/gradients/operation_cases.h"
#include "suites/gradients/own_forward_cases.h"
#include "suites/gradients/parity_cases.h"
#include "suites/gradients/path_cases.h"
#include "suites/gradients/relation_cases.h"
#include "suites/gradients/step_cases.h"

#include <iterator>

namespace sparity::suites {

std::vector<cases::Case> gradient_cases() {
  std::vector<cases::Case> all;
  for (auto* part :
       {gradients::step_cases, gradients::parity_cases, gradients::path_cases,
        gradients::relation_cases, gradients::operation_cases, gradients::own_forward_cases,
        gradients::bitwise_cases, gradients::backward_chart_cases, gradients::memory_cases}) {
    std::ranges::move(part(), std::back_inserter(all));
  }
  return all;
}

}  // namespace sparity::suites
