#include "suites/lora/lora_cases.h"

#include "suites/lora/dual_cases.h"
#include "suites/lora/mistake_cases.h"
#include "suites/lora/parity_cases.h"
#include "suites/lora/path_cases.h"
#include "suites/lora/relation_cases.h"

#include <iterator>
#include <utility>

namespace sparity::suites {

std::vector<cases::Case> lora_cases() {
  std::vector<cases::Case> all;
  // What is nearest to the arithmetic comes first: the first to fail names the cause.
  for (std::vector<cases::Case> part :
       {lora::operation_cases(), lora::relation_cases(), lora::path_cases(), lora::parity_cases(),
        lora::dual_cases(), lora::mistake_cases()}) {
    std::move(part.begin(), part.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace sparity::suites
