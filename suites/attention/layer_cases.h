#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// The attention part of the first and the last layer, on the truth's input and under the truth's
/// selections, sparse and dense.
std::vector<cases::Case> attention_layer_cases();

}  // namespace sparity::suites
