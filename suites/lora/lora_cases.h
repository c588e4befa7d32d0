#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// LoRA adapters (spec build-ground 4): their arithmetic and its gradients, merging, whom each loss
/// reaches through them, and two of them trained from one forward pass.
std::vector<cases::Case> lora_cases();

}  // namespace sparity::suites
