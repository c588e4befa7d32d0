#pragma once

#include "src/tensors/inputs.h"

#include <cstdint>
#include <vector>

namespace sparity::suites {

/// Inputs for cases below the level of a layer, where only masks and positions count: one
/// right-padded row per length, `tokens` wide, every id 0, positions 0, 1, … .
tensors::Inputs masked_rows(const std::vector<std::int64_t>& lengths, std::int64_t tokens);

}  // namespace sparity::suites
