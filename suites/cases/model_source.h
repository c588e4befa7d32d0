#pragma once

#include "src/tensors/checkpoint.h"
#include "src/tensors/inputs.h"

#include <cstdint>
#include <string>

namespace sparity::cases {

/// Where a model comes from: a checkpoint folder, or a config with seeded weights.
struct ModelSource {
  std::string model;            // a checkpoint folder, or empty
  std::string config = "tiny";  // an embedded config's name, or a config file
  std::string inputs;           // an inputs file, or empty for seeded rows
  std::uint64_t seed = 1;

  /// True when the config is one of the embedded ones.
  bool embedded() const;
  /// "tiny", or the file's or folder's name.
  std::string name() const;
  /// The flags that name this source on any command line.
  std::string flags() const;
};

/// "tiny, fork-tiny, …".
std::string embedded_config_names();

/// The config alone, validated.
core::ParsedConfig read_config(const ModelSource& source);

/// The checkpoint on disk, or a seeded one of the config.
tensors::Checkpoint open_checkpoint(const ModelSource& source);

/// Tokens in the longer of two seeded rows: enough that the top k leaves out more than a quarter of
/// the visible keys (53 for tiny), but no more than max_position_embeddings (or 64).
std::int64_t default_tokens(const core::ModelConfig& config);

/// The inputs file, or two seeded rows of `default_tokens`.
tensors::Inputs open_inputs(const ModelSource& source, const core::ModelConfig& config);

}  // namespace sparity::cases
