#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::indexer_loss {

/// The loss and its gradients against the reference: the default in both modes, then every other
/// value of every option alone, inputs with few keys, and a sequence of several tiles.
std::vector<cases::Case> option_cases();

}  // namespace sparity::suites::indexer_loss
