#pragma once

#include "src/tensors/inputs.h"

#include <filesystem>
#include <string>

namespace sparity::tensors {

/// As `read_inputs`, without the checks that only a config can make: ids and labels may lie above
/// the vocabulary.
Inputs read_input_file(const std::filesystem::path& path);

/// Which inputs these are: the first 16 hex digits of a SHA-256 over names, shapes and bytes of
/// input_ids, token_mask, position_ids and, where defined, labels and pair_mask. A file that spells
/// out a default has the hash of one that leaves it out.
std::string inputs_hash(const Inputs& inputs);

}  // namespace sparity::tensors
