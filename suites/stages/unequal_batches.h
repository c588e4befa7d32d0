#pragma once

#include "suites/stages/stage_run.h"

namespace sparity::suites::stages {

/// Three micro-batches that agree in nothing that a loss may be divided by: 1, 1 and 2 sequences;
/// 40, 28 and 15 tokens; 40, 60 and 18 positions; and fewer labels than tokens in the first. The
/// last ones have few keys, hence little KL loss: a mistaken weight shows. Seeded by the suite's
/// seed and `number`.
MicroBatches unequal_batches(const cases::SuiteContext& context, std::int64_t number);

/// Different ids among their tokens: the samples of rounding that a gradient over them holds.
std::int64_t distinct_tokens(const MicroBatches& batch);

}  // namespace sparity::suites::stages
