#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// Attention over selected keys (absorbed) and over every visible key (expanded), and the attention
/// part of whole layers (spec 2.8).
std::vector<cases::Case> attention_cases();

}  // namespace sparity::suites
