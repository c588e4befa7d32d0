#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::core {

enum class RopeType { kDefault, kYarn };

/// Hugging Face's `rope_parameters` (transformers 5) or `rope_scaling` + `rope_theta` (hub, v4).
struct RopeParameters {
  RopeType rope_type = RopeType::kDefault;
  double rope_theta = 10000.0;
  // The rest is read only for YaRN.
  double factor = 1.0;
  std::int64_t original_max_position_embeddings = 4096;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  std::optional<double> attention_factor;

  bool operator==(const RopeParameters&) const = default;
};

enum class MlpType { kDense, kSparse };

/// A DeepSeek-V3.2 model's shape. Fields carry Hugging Face's names; defaults are the 671B model's.
struct ModelConfig {
  std::int64_t vocab_size = 129280;
  std::int64_t hidden_size = 7168;
  std::int64_t intermediate_size = 18432;
  std::int64_t moe_intermediate_size = 2048;
  std::int64_t num_hidden_layers = 61;
  std::int64_t num_attention_heads = 128;
  std::int64_t num_key_value_heads = 128;
  std::int64_t n_routed_experts = 256;
  std::int64_t n_shared_experts = 1;
  std::int64_t num_experts_per_tok = 8;
  std::int64_t n_group = 8;
  std::int64_t topk_group = 4;
  double routed_scaling_factor = 2.5;
  bool norm_topk_prob = true;
  std::int64_t q_lora_rank = 1536;
  std::int64_t kv_lora_rank = 512;
  std::int64_t qk_nope_head_dim = 128;
  std::int64_t qk_rope_head_dim = 64;
  std::int64_t v_head_dim = 128;
  std::int64_t index_n_heads = 64;
  std::int64_t index_head_dim = 128;
  std::int64_t index_topk = 2048;
  std::int64_t max_position_embeddings = 163840;
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;
  RopeParameters rope_parameters;
  /// One entry a layer. Read from `mlp_layer_types`, else made from `first_k_dense_replace` (3).
  std::vector<MlpType> mlp_layer_types;
  std::optional<std::int64_t> bos_token_id = 0;
  std::optional<std::int64_t> eos_token_id = 1;
  std::optional<std::int64_t> pad_token_id;

  std::int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  bool is_moe_layer(std::int64_t layer) const {
    return mlp_layer_types[static_cast<std::size_t>(layer)] == MlpType::kSparse;
  }
  bool operator==(const ModelConfig&) const = default;
};

/// A config as read, with what a user should be told about it.
struct ParsedConfig {
  ModelConfig config;
  std::vector<std::string> warnings;  // each starts with the source: unknown or unread keys, shape
                                      // fields that are absent, aliases, shorthands overruled
};

/// Reads a Hugging Face `config.json` (transformers 5, or hub / v4) or DeepSeek's official JSON
/// (`dim`, `n_layers`, …: recognised by `dim`). Absent fields take the 671B model's values, and one
/// warning lists those that decide shapes. Unknown keys warn. A known key whose value isn't
/// supported, is of the wrong type, out of range or at odds with another throws (exit code 5):
/// "<source>: <JSON pointer>: expected …, found …". Of several end-of-text ids the first is kept.
/// An official file without `max_seq_len` gets 16384, as in the official code, and YaRN when that
/// exceeds `original_seq_len`. Layers beyond 10,000, experts beyond 2,000,000 in all, and
/// dimensions or matrix widths beyond 2^31 - 1 are refused. The result is validated.
ParsedConfig parse_model_config(const nlohmann::json& document, const std::string& source);

/// `path` is the file itself, or a folder that holds `config.json`.
ParsedConfig read_model_config(const std::filesystem::path& path);

/// Throws (exit code 5) for the first rule broken (spec 1.3): dimensions and matrix widths in
/// [1, 2^31); num_key_value_heads = num_attention_heads; qk_rope_head_dim even and ≤
/// index_head_dim; one mlp_layer_types entry a layer; rope_theta > 1; under YaRN factor ≥ 1,
/// original positions ≥ 1, beta_fast > beta_slow > 0, mscales ≥ 0, attention_factor > 0; every
/// number finite. Where some layer is sparse also: n_group divides n_routed_experts into groups of
/// at least 2; topk_group ≤ n_group; num_experts_per_tok ≤ topk_group · experts a group;
/// n_shared_experts ≥ 1. (Without a sparse layer the expert fields are unused and free.) `source`
/// starts the message.
void validate(const ModelConfig& config, const std::string& source);

/// The transformers-5 spelling, complete: `parse_model_config(to_json(c)).config == c`.
nlohmann::json to_json(const ModelConfig& config);

/// First 16 hex digits of the SHA-256 of the canonical JSON.
std::string config_hash(const ModelConfig& config);

}  // namespace sparity::core
