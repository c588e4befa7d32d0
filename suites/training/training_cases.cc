#include "suites/training/training_cases.h"

#include "suites/training/accumulation_cases.h"
#include "suites/training/curve_cases.h"
#include "suites/training/objective_cases.h"
#include "suites/training/optimizer_cases.h"
#include "suites/training/path_cases.h"
#include "suites/training/reduction_cases.h"
#include "suites/training/run_cases.h"

#include <iterator>

namespace sparity::suites {

std::vector<cases::Case> training_cases() {
  std::vector<cases::Case> all;
  for (auto list :
       {training::optimizer_cases(), training::path_cases(), training::objective_cases(),
        training::reduction_cases(), training::accumulation_cases(), training::run_cases(),
        training::curve_cases()}) {
    std::move(list.begin(), list.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace sparity::suites
