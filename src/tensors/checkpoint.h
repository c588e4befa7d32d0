#pragma once

#include "src/core/model_config.h"
#include "src/core/tensor_manifest.h"
#include "src/tensors/weight_store.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace sparity::tensors {

/// A model in Hugging Face layout: `config.json` and its tensors.
struct Checkpoint {
  core::ModelConfig config;
  core::TensorManifest manifest;
  WeightStore weights;
  std::vector<std::string> warnings;  // for the user: unknown config keys, set-aside MTP tensors, …
};

/// Reads and validates everything, or throws (exit code 5) with a message that names file and
/// field.
Checkpoint load_checkpoint(const std::filesystem::path& folder);

/// Writes `config.json` and `model.safetensors`; above `max_shard_bytes` shards and an index.
void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& folder,
                     std::uint64_t max_shard_bytes = 5'000'000'000);

/// A checkpoint whose every value is decided by (seed, tensor name), stored in `dtype`. Matrices
/// are normal with a spread of 1/sqrt(fan_in) so that no activation dies or saturates; norm gains
/// scatter around 1 and biases around 0, router biases of both signs included, so that a skipped or
/// swapped tensor shows.
Checkpoint seeded_checkpoint(const core::ModelConfig& config, std::uint64_t seed,
                             core::Dtype dtype = core::Dtype::kF32);

}  // namespace sparity::tensors
