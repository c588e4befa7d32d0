#pragma once

#include <array>
#include <string_view>

namespace sparity::runner {

/// Every suite, from primitives to the whole model: the first to fail is nearest to the cause.
inline constexpr std::array<std::string_view, 16> kSuiteNames = {
    "norm",  "rope",  "indexer", "masking",   "selection",    "attention", "routing", "moe",
    "block", "model", "loss",    "gradients", "indexer_loss", "training",  "stages",  "lora"};

}  // namespace sparity::runner
