#pragma once

#include "suites/stages/stage_run.h"

namespace sparity::suites::stages {

/// Three micro-batches that agree in nothing that a loss may be divided by: 1, 1 and 2 sequences;
/// 40, 28 and 29 tokens; 40, 33 and 34 positions; and fewer labels than that in the first. Seeded
/// by the suite's seed and `number`.
MicroBatches unequal_batches(const cases::SuiteContext& context, std::int64_t number);

/// Different ids among their tokens: the samples of rounding that a gradient over them holds.
std::int64_t distinct_tokens(const MicroBatches& batch);

}  // namespace sparity::suites::stages
