#pragma once

#include "src/core/json_fields.h"
#include "src/core/model_config.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sparity::core {

// The readers of the two spellings, apart so that each is one page. `parse_model_config` chooses.

/// Dimensions, counts and token ids end here: they and their pairwise products fit 64 bits.
inline constexpr std::int64_t kMaxDimension = 2147483647;
/// Bounds the per-layer lists that a short file can ask for.
inline constexpr std::int64_t kMaxLayers = 10000;

/// Fields that decide a tensor's shape or its presence, by `key`; one that the file lacks takes the
/// value it has, which is the 671B model's, and is told to the user.
class ShapeFields {
 public:
  explicit ShapeFields(JsonFields& fields) : fields_(fields) {}

  void read(std::string_view key, std::int64_t& field, std::int64_t least,
            std::int64_t most = kMaxDimension);
  /// Appends one warning that names every absent field, if any was.
  void report_absent(std::vector<std::string>& warnings, const std::string& source) const;

 private:
  JsonFields& fields_;
  std::vector<std::string> absent_;
};

/// Hugging Face's `config.json`, of transformers 5 and of the hub (v4).
ModelConfig read_hugging_face_config(const nlohmann::json& document, const std::string& source,
                                     std::vector<std::string>& warnings);

/// The JSON of DeepSeek's inference code (`ModelArgs`).
ModelConfig read_official_config(const nlohmann::json& document, const std::string& source,
                                 std::vector<std::string>& warnings);

/// `rope_parameters` (transformers 5) or `rope_scaling` + `rope_theta` (hub, v4) of a Hugging Face
/// config. Like transformers, `original_max_position_embeddings` falls back to
/// `max_position_embeddings` (with a warning), and null or absent betas to 32 and 1.
RopeParameters read_rope_parameters(JsonFields& fields, const ModelConfig& config,
                                    const std::string& source, std::vector<std::string>& warnings);

/// One warning for each member that no reader asked for.
void warn_unread(const JsonFields& fields, const std::string& source,
                 std::vector<std::string>& warnings);

/// `dense` dense layers, then sparse ones.
std::vector<MlpType> mlp_layers_after(std::int64_t dense, std::int64_t layers);

}  // namespace sparity::core
