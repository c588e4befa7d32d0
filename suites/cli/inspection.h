#pragma once

#include "src/core/model_config.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace sparity::cli {

/// A checkpoint's files against what its config asks for, from their headers alone.
struct Inspection {
  core::ModelConfig config;
  std::vector<std::string> warnings;
  std::int64_t parameters = 0;
  std::int64_t indexer_parameters = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> shards;
  std::map<std::string, std::int64_t> dtypes;  // tensors of each
  std::vector<std::string> missing;
  std::vector<std::string> left_over;
  std::vector<std::string> misshapen;
  std::vector<std::string> wrong_dtype;
  std::vector<std::string> mtp;
  /// `quantization_config`'s method ("fp8") and, when the files' headers could not be read for it,
  /// why. Such weights are recognised and not supported yet; the config is shown all the same.
  std::string quantisation;
  std::string unread;

  /// `load_checkpoint` would take it.
  bool fits() const { return complaint().empty(); }
  /// The first of what does not fit, in words; empty when all does.
  std::string complaint() const;
};

/// Throws (exit code 5) when the folder, its config or a file's header can't be read.
Inspection inspect(const std::filesystem::path& folder);

}  // namespace sparity::cli
