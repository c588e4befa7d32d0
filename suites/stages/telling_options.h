#pragma once

#include "suites/stages/stage_rules.h"

#include <vector>

namespace sparity::suites::stages {

/// Below the norms of `tiny`: 4 of the model's gradients, 0.04 of the indexer's.
inline constexpr double kClip = 0.5;
inline constexpr double kIndexerClip = 0.02;

/// Options in which a mistake shows: a KL coefficient, clipping that bites, decay, two rates, a
/// warm-up. Clipped gradients are some 1e-2 and less, so that eps decides AdamW's step and a small
/// error of a small gradient stays one. Not settled.
train::TrainOptions telling_options(const cases::SuiteContext& context, const StageRule& rule);

/// What the stage `joint` alone allows, and everything that `sparse` leaves off.
void add_every_loss(train::TrainOptions& options);

/// One on the model's attention and one on the indexer, their inputs dropping out.
std::vector<tensors::Adapter> dropping_adapters(const cases::SuiteContext& context);

}  // namespace sparity::suites::stages
