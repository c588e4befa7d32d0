#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::lora {

/// The three mistakes of a published dual-LoRA example (spec model-semantics 4.4): each has to be
/// refused or caught, and named.
std::vector<cases::Case> mistake_cases();

}  // namespace sparity::suites::lora
