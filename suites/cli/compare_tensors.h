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

/// The candidate's losses beside what it computed them from, which tells an error that is small
/// against the rounding of the whole run: `lm_loss` beside the mean cross entropy of its own
/// logits, where --inputs has labels, and `loss` beside lm_loss + kl_loss. Both are sums in float32
/// or wider (spec 4.6), so that of V terms 16·√V·u of the logits' size may be lost.
std::vector<judge::Comparison> judge_own_losses(const ComparedDumps& dumps);

}  // namespace sparity::cli
