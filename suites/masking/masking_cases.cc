#include "suites/masking/masking_cases.h"

#include "suites/masking/batch_cases.h"
#include "suites/masking/causality_cases.h"
#include "suites/masking/form_cases.h"
#include "suites/masking/local_cases.h"

namespace sparity::suites {

std::vector<cases::Case> masking_cases() {
  std::vector<cases::Case> all;
  for (const std::vector<cases::Case>& part :
       {masking::local_cases(), masking::form_cases(), masking::causality_cases(),
        masking::batch_cases()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace sparity::suites
