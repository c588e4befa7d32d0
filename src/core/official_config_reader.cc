#include "src/core/model_config_reader.h"
#include "src/core/strict_json.h"

#include <nlohmann/json.hpp>

#include <array>

namespace sparity::core {

namespace {

/// Cache rows and the storage of FP8 scales: nothing here depends on them.
constexpr auto kIgnoredOfficialFields =
    std::to_array<std::string_view>({"max_batch_size", "scale_fmt"});

void read_dimensions(JsonFields& fields, ModelConfig& config, std::int64_t& dense_layers,
                     const std::string& source, std::vector<std::string>& warnings) {
  ShapeFields shape(fields);
  shape.read("vocab_size", config.vocab_size, 1);
  shape.read("dim", config.hidden_size, 1);
  shape.read("inter_dim", config.intermediate_size, 1);
  shape.read("moe_inter_dim", config.moe_intermediate_size, 0);
  shape.read("n_layers", config.num_hidden_layers, 1, kMaxLayers);
  shape.read("n_dense_layers", dense_layers, 0);
  shape.read("n_heads", config.num_attention_heads, 1);
  shape.read("n_routed_experts", config.n_routed_experts, 0);
  shape.read("n_shared_experts", config.n_shared_experts, 0);
  shape.read("n_activated_experts", config.num_experts_per_tok, 0);
  shape.read("n_expert_groups", config.n_group, 0);
  shape.read("n_limited_groups", config.topk_group, 0);
  shape.read("q_lora_rank", config.q_lora_rank, 1);
  shape.read("kv_lora_rank", config.kv_lora_rank, 1);
  shape.read("qk_nope_head_dim", config.qk_nope_head_dim, 1);
  shape.read("qk_rope_head_dim", config.qk_rope_head_dim, 1);
  shape.read("v_head_dim", config.v_head_dim, 1);
  shape.read("index_n_heads", config.index_n_heads, 1);
  shape.read("index_head_dim", config.index_head_dim, 1);
  shape.read("index_topk", config.index_topk, 1);
  shape.report_absent(warnings, source);
  config.num_key_value_heads = config.num_attention_heads;
  config.mlp_layer_types = mlp_layers_after(dense_layers, config.num_hidden_layers);
}

/// The official code turns YaRN on by length alone, and scales the softmax by m(mscale)^2 and cos
/// and sin by nothing: equal `mscale` and `mscale_all_dim` say the same in Hugging Face's terms.
RopeParameters read_rope(JsonFields& fields, std::int64_t max_seq_len) {
  constexpr double kMostReal = 1e12;
  RopeParameters rope;
  rope.rope_theta = fields.number("rope_theta", 10000.0, 1.0 + 1e-6, kMostReal);
  const std::int64_t original = fields.integer("original_seq_len", 4096, 1, kMaxDimension);
  const double factor = fields.number("rope_factor", 40.0, 1.0, kMostReal);
  const double beta_fast = fields.number("beta_fast", 32.0, 1e-6, kMostReal);
  const double beta_slow = fields.number("beta_slow", 1.0, 1e-6, kMostReal);
  const double mscale = fields.number("mscale", 1.0, 1e-6, kMostReal);
  if (max_seq_len > original) {
    rope.rope_type = RopeType::kYarn;
    rope.factor = factor;
    rope.original_max_position_embeddings = original;
    rope.beta_fast = beta_fast;
    rope.beta_slow = beta_slow;
    rope.mscale = mscale;
    rope.mscale_all_dim = mscale;
  }
  return rope;
}

}  // namespace

ModelConfig read_official_config(const nlohmann::json& document, const std::string& source,
                                 std::vector<std::string>& warnings) {
  JsonFields fields(document, source);
  fields.require("model_type", "deepseek_v32");
  fields.require_absent("hidden_size", "either dim or hidden_size, not both spellings");
  fields.require("score_func", "sigmoid");
  if (const std::string dtype = fields.text("dtype").value_or("bf16"); dtype != "bf16") {
    fields.fail("dtype", "\"bf16\" (FP8 weights are not read: convert them first)", quote(dtype));
  }
  ModelConfig config;
  std::int64_t dense_layers = 3;
  read_dimensions(fields, config, dense_layers, source, warnings);
  config.routed_scaling_factor =
      fields.number("route_scale", config.routed_scaling_factor, 1e-6, 1e6);
  // The released file leaves max_seq_len to the code, where it is 16384.
  config.max_position_embeddings = fields.integer("max_seq_len", 16384, 1, kMaxDimension);
  config.rope_parameters = read_rope(fields, config.max_position_embeddings);
  fields.ignore(kIgnoredOfficialFields);
  warn_unread(fields, source, warnings);
  return config;
}

}  // namespace sparity::core
