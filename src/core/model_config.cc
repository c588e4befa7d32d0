#include "src/core/model_config.h"

#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/model_config_reader.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>

namespace sparity::core {

namespace {

using Json = nlohmann::json;

/// Throws for the field at `pointer` unless `holds`.
class Rules {
 public:
  explicit Rules(const std::string& source) : source_(source) {}

  template <typename Found>
  void demand(bool holds, const char* pointer, const std::string& expected,
              const Found& found) const {
    SPARITY_CHECK_INPUT(
        holds, fmt::format("{}: {}: expected {}, found {}", source_, pointer, expected, found));
  }
  /// An integer in [least, most].
  void range(std::int64_t found, const char* pointer, std::int64_t least,
             std::int64_t most = kMaxDimension) const {
    demand(found >= least && found <= most, pointer,
           fmt::format("an integer from {} to {}", least, most), found);
  }
  /// A finite number above zero.
  void positive(double found, const char* pointer) const {
    demand(std::isfinite(found) && found > 0.0, pointer, "a positive number", found);
  }

 private:
  const std::string& source_;
};

void check_dimensions(const ModelConfig& config, const Rules& rules) {
  rules.range(config.vocab_size, "/vocab_size", 1);
  rules.range(config.hidden_size, "/hidden_size", 1);
  rules.range(config.intermediate_size, "/intermediate_size", 1);
  rules.range(config.num_hidden_layers, "/num_hidden_layers", 1, kMaxLayers);
  rules.range(config.num_attention_heads, "/num_attention_heads", 1);
  rules.demand(config.num_key_value_heads == config.num_attention_heads, "/num_key_value_heads",
               fmt::format("{}, as num_attention_heads says", config.num_attention_heads),
               config.num_key_value_heads);
  rules.range(config.q_lora_rank, "/q_lora_rank", 1);
  rules.range(config.kv_lora_rank, "/kv_lora_rank", 1);
  rules.range(config.qk_nope_head_dim, "/qk_nope_head_dim", 1);
  rules.range(config.qk_rope_head_dim, "/qk_rope_head_dim", 1);
  rules.range(config.v_head_dim, "/v_head_dim", 1);
  rules.range(config.index_n_heads, "/index_n_heads", 1);
  rules.range(config.index_head_dim, "/index_head_dim", 1);
  rules.range(config.index_topk, "/index_topk", 1);
  rules.range(config.max_position_embeddings, "/max_position_embeddings", 1);
  rules.demand(config.qk_rope_head_dim % 2 == 0, "/qk_rope_head_dim", "an even number",
               config.qk_rope_head_dim);
  rules.demand(config.qk_rope_head_dim <= config.index_head_dim, "/qk_rope_head_dim",
               fmt::format("at most index_head_dim = {}", config.index_head_dim),
               config.qk_rope_head_dim);
  // Each factor is below 2^31, so these products are exact; they are the widths of matrices.
  rules.range(config.num_attention_heads * config.qk_head_dim(), "/num_attention_heads", 1);
  rules.range(config.num_attention_heads * (config.qk_nope_head_dim + config.v_head_dim),
              "/num_attention_heads", 1);
  rules.range(config.index_n_heads * config.index_head_dim, "/index_n_heads", 1);
}

void check_experts(const ModelConfig& config, const Rules& rules) {
  rules.range(config.moe_intermediate_size, "/moe_intermediate_size", 1);
  rules.range(config.n_routed_experts, "/n_routed_experts", 1);
  rules.range(config.n_shared_experts, "/n_shared_experts", 1);
  rules.range(config.n_shared_experts * config.moe_intermediate_size, "/n_shared_experts", 1);
  rules.range(config.n_group, "/n_group", 1);
  rules.demand(config.n_routed_experts % config.n_group == 0, "/n_group",
               fmt::format("a divisor of n_routed_experts = {}", config.n_routed_experts),
               config.n_group);
  const std::int64_t group_size = config.n_routed_experts / config.n_group;
  rules.demand(group_size >= 2, "/n_group",
               fmt::format("groups of at least 2 of the {} experts", config.n_routed_experts),
               config.n_group);
  rules.range(config.topk_group, "/topk_group", 1, config.n_group);
  rules.range(config.num_experts_per_tok, "/num_experts_per_tok", 1,
              config.topk_group * group_size);
  rules.positive(config.routed_scaling_factor, "/routed_scaling_factor");
}

void check_rope(const RopeParameters& rope, const Rules& rules) {
  rules.demand(std::isfinite(rope.rope_theta) && rope.rope_theta > 1.0,
               "/rope_parameters/rope_theta", "a number above 1", rope.rope_theta);
  if (rope.rope_type != RopeType::kYarn) {
    return;
  }
  rules.demand(std::isfinite(rope.factor) && rope.factor >= 1.0, "/rope_parameters/factor",
               "a number of at least 1", rope.factor);
  rules.range(rope.original_max_position_embeddings,
              "/rope_parameters/original_max_position_embeddings", 1);
  rules.positive(rope.beta_slow, "/rope_parameters/beta_slow");
  rules.demand(std::isfinite(rope.beta_fast) && rope.beta_fast > rope.beta_slow,
               "/rope_parameters/beta_fast",
               fmt::format("a number above beta_slow = {}", rope.beta_slow), rope.beta_fast);
  for (const auto& [pointer, value] :
       {std::pair("/rope_parameters/mscale", rope.mscale),
        std::pair("/rope_parameters/mscale_all_dim", rope.mscale_all_dim)}) {
    rules.demand(std::isfinite(value.value_or(0.0)) && value.value_or(0.0) >= 0.0, pointer,
                 "a number of at least 0", value.value_or(0.0));
  }
  rules.positive(rope.attention_factor.value_or(1.0), "/rope_parameters/attention_factor");
}

Json rope_to_json(const RopeParameters& rope) {
  Json json = {{"rope_type", "default"}, {"rope_theta", rope.rope_theta}};
  if (rope.rope_type == RopeType::kYarn) {
    json["rope_type"] = "yarn";
    json["factor"] = rope.factor;
    json["original_max_position_embeddings"] = rope.original_max_position_embeddings;
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    for (const auto& [key, value] :
         {std::pair("mscale", rope.mscale), std::pair("mscale_all_dim", rope.mscale_all_dim),
          std::pair("attention_factor", rope.attention_factor)}) {
      if (value) {
        json[key] = *value;
      }
    }
  }
  return json;
}

Json id_to_json(const std::optional<std::int64_t>& id) { return id ? Json(*id) : Json(nullptr); }

/// Hugging Face's count of leading dense layers, where the layers' types can be said so.
std::optional<std::int64_t> leading_dense_layers(const std::vector<MlpType>& types) {
  const auto sparse = std::ranges::find(types, MlpType::kSparse);
  const bool ordered =
      std::all_of(sparse, types.end(), [](MlpType type) { return type == MlpType::kSparse; });
  return ordered ? std::optional<std::int64_t>(sparse - types.begin()) : std::nullopt;
}

}  // namespace

ParsedConfig parse_model_config(const Json& document, const std::string& source) {
  ParsedConfig parsed;
  const bool official = document.is_object() && document.contains("dim");
  parsed.config = official ? read_official_config(document, source, parsed.warnings)
                           : read_hugging_face_config(document, source, parsed.warnings);
  validate(parsed.config, source);
  return parsed;
}

ParsedConfig read_model_config(const std::filesystem::path& path) {
  std::error_code ignored;
  const std::filesystem::path file =
      std::filesystem::is_directory(path, ignored) ? path / "config.json" : path;
  constexpr JsonLimits kLimits = {.max_bytes = 16'000'000, .max_depth = 16, .max_values = 500'000};
  return parse_model_config(read_json(file, kLimits), file.string());
}

void validate(const ModelConfig& config, const std::string& source) {
  const Rules rules(source);
  check_dimensions(config, rules);
  rules.demand(config.mlp_layer_types.size() == static_cast<std::size_t>(config.num_hidden_layers),
               "/mlp_layer_types", fmt::format("{} entries, one a layer", config.num_hidden_layers),
               config.mlp_layer_types.size());
  const auto sparse = std::ranges::count(config.mlp_layer_types, MlpType::kSparse);
  if (sparse > 0) {
    check_experts(config, rules);
    constexpr std::int64_t kMaxExperts = 2'000'000;
    rules.demand(config.n_routed_experts <= kMaxExperts / sparse, "/n_routed_experts",
                 fmt::format("at most {} experts in all {} MoE layers", kMaxExperts, sparse),
                 config.n_routed_experts);
  }
  check_rope(config.rope_parameters, rules);
  rules.positive(config.rms_norm_eps, "/rms_norm_eps");
  rules.demand(std::isfinite(config.initializer_range) && config.initializer_range >= 0.0,
               "/initializer_range", "a number of at least 0", config.initializer_range);
}

Json to_json(const ModelConfig& config) {
  Json json = {
      {"architectures", Json::array({"DeepseekV32ForCausalLM"})},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"bos_token_id", id_to_json(config.bos_token_id)},
      {"eos_token_id", id_to_json(config.eos_token_id)},
      {"head_dim", config.qk_rope_head_dim},
      {"hidden_act", "silu"},
      {"hidden_size", config.hidden_size},
      {"index_head_dim", config.index_head_dim},
      {"index_n_heads", config.index_n_heads},
      {"index_topk", config.index_topk},
      {"initializer_range", config.initializer_range},
      {"intermediate_size", config.intermediate_size},
      {"kv_lora_rank", config.kv_lora_rank},
      {"layer_types", Json(config.mlp_layer_types.size(), "indexed_attention")},
      {"max_position_embeddings", config.max_position_embeddings},
      {"mlp_bias", false},
      {"mlp_layer_types", Json::array()},
      {"model_type", "deepseek_v32"},
      {"moe_intermediate_size", config.moe_intermediate_size},
      {"n_group", config.n_group},
      {"n_routed_experts", config.n_routed_experts},
      {"n_shared_experts", config.n_shared_experts},
      {"norm_topk_prob", config.norm_topk_prob},
      {"num_attention_heads", config.num_attention_heads},
      {"num_experts_per_tok", config.num_experts_per_tok},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_key_value_heads", config.num_key_value_heads},
      {"pad_token_id", id_to_json(config.pad_token_id)},
      {"q_lora_rank", config.q_lora_rank},
      {"qk_head_dim", config.qk_head_dim()},
      {"qk_nope_head_dim", config.qk_nope_head_dim},
      {"qk_rope_head_dim", config.qk_rope_head_dim},
      {"rms_norm_eps", config.rms_norm_eps},
      {"rope_parameters", rope_to_json(config.rope_parameters)},
      {"routed_scaling_factor", config.routed_scaling_factor},
      {"tie_word_embeddings", false},
      {"topk_group", config.topk_group},
      {"v_head_dim", config.v_head_dim},
      {"vocab_size", config.vocab_size},
  };
  for (const MlpType type : config.mlp_layer_types) {
    json["mlp_layer_types"].push_back(type == MlpType::kSparse ? "sparse" : "dense");
  }
  if (const auto dense = leading_dense_layers(config.mlp_layer_types)) {
    json["first_k_dense_replace"] = *dense;
  }
  return json;
}

std::string config_hash(const ModelConfig& config) {
  return sha256_hex(to_json(config).dump()).substr(0, 16);
}

}  // namespace sparity::core
