#pragma once

#include "src/tensors/adapter.h"
#include "src/tensors/checkpoint.h"

#include <vector>

namespace sparity::lora {

/// Whether an adapter goes into the weights or out of them.
enum class MergeDirection { kMerge, kUnmerge };

/// The checkpoint with every adapter in its weights: W + Σ scaling · B · A for kMerge, W − Σ … for
/// kUnmerge (spec build-ground 4.1), in f32(W) and rounded to W's own dtype once; the weights that
/// no adapter changes are shared. In 16 bits, unmerging what was merged gives back W but for that
/// rounding, twice: keep the original where its bits matter. (PEFT rounds the change to W's dtype
/// first, and the sum again.) Throws (exit code 5), naming the parameter, where a merged weight is
/// not finite or out of range of its dtype.
tensors::Checkpoint merged(const tensors::Checkpoint& checkpoint,
                           const std::vector<tensors::Adapter>& adapters,
                           MergeDirection direction = MergeDirection::kMerge);

}  // namespace sparity::lora
