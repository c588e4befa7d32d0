#pragma once

#include "suites/judge/record.h"
#include "suites/stages/stage_rules.h"

#include <vector>

namespace sparity::suites::stages {

/// Steps that one run is judged over, at most.
inline constexpr int kMostSteps = 3;

/// Trains `steps` steps over unequal micro-batches and judges each by itself against the reference,
/// from where the candidate stands: what it got wrong before is not counted again, and a key's
/// score beside the kink of its ReLU cannot part the ways for good. `options` are settled. Judged
/// are losses, norms, rates, first moments, ways, routers' biases and AdamW's counts;
/// docs/numerics.md.
void judge_steps(const cases::SuiteContext& context, const StageRule& rule, int steps,
                 const train::TrainOptions& options, const std::vector<tensors::Adapter>& adapters,
                 judge::CaseRecord& record);

}  // namespace sparity::suites::stages
