#include "suites/routing/routing_cases.h"

#include "suites/routing/choice_cases.h"
#include "suites/routing/route_cases.h"
#include "suites/routing/weight_cases.h"

namespace sparity::suites {

std::vector<cases::Case> routing_cases() {
  std::vector<cases::Case> all;
  for (const std::vector<cases::Case>& part :
       {routing::choice_cases(), routing::weight_cases(), routing::route_cases()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace sparity::suites
