#include "suites/indexer_loss/indexer_loss_cases.h"

#include "suites/indexer_loss/option_cases.h"
#include "suites/indexer_loss/relation_cases.h"

#include <iterator>

namespace sparity::suites {

std::vector<cases::Case> indexer_loss_cases() {
  std::vector<cases::Case> all = indexer_loss::option_cases();
  std::vector<cases::Case> relations = indexer_loss::relation_cases();
  std::move(relations.begin(), relations.end(), std::back_inserter(all));
  return all;
}

}  // namespace sparity::suites
