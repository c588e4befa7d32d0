#pragma once

#include "src/core/tensor_manifest.h"
#include "src/tensors/adapter.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sparity::cli {

/// Adapters as a command line names them: "PATH" or "NAME=PATH"; the first without a name is
/// "default", a further one is called after its last folder.
struct AdapterArgument {
  std::string name;
  std::string path;
};

/// Throws (exit code 5) for a name that is none, and for two of one name.
std::vector<AdapterArgument> adapter_arguments(const std::vector<std::string>& words,
                                               const std::string& flag);

/// --adapter [NAME=]DIR, any number of times.
void add_adapter_option(CLI::App& app, std::vector<std::string>& words);

/// Reads the folders that --adapter names.
std::vector<tensors::Adapter> read_adapters(const std::vector<std::string>& words,
                                            const core::TensorManifest& manifest);

/// The configuration in a file, or in a folder's adapter_config.json.
core::AdapterConfig adapter_config(const std::string& path);

/// What --lora names: a folder's adapter as it is, or a new one by the configuration in a file,
/// drawn by `seed`.
std::vector<tensors::Adapter> trained_adapters(const std::vector<std::string>& words,
                                               const core::TensorManifest& manifest,
                                               std::uint64_t seed);

}  // namespace sparity::cli
