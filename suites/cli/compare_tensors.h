#pragma once

#include "suites/cli/compared_dumps.h"
#include "suites/judge/record.h"

#include <string>
#include <vector>

namespace sparity::cli {

/// Judges the candidate's tensor of this name, which the truth has too.
judge::Comparison judge_tensor(const ComparedDumps& dumps, const std::string& name);

/// Judges the gradient of every parameter that candidate and truth have; as in the suites, a
/// layer's experts as one tensor [E, …].
std::vector<judge::Comparison> judge_parameter_gradients(const ComparedDumps& dumps);

}  // namespace sparity::cli
