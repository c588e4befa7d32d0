#include "src/core/model_config_reader.h"

#include "src/core/error.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace sparity::core {

namespace {

using Json = nlohmann::json;

/// Keys of Hugging Face's files that change nothing in what is computed here.
constexpr auto kIgnoredHubFields = std::to_array<std::string_view>({
    "_name_or_path",
    "architectures",
    "auto_map",
    "aux_loss_alpha",
    "dtype",
    "ep_size",
    "id2label",
    "label2id",
    "num_nextn_predict_layers",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pretraining_tp",
    "return_dict",
    "router_aux_loss_coef",
    "seq_aux",
    "torch_dtype",
    "transformers_version",
    "use_cache",
});

void refuse_unsupported(JsonFields& fields) {
  fields.require("hidden_act", "silu");
  fields.require("attention_bias", false);
  fields.require("mlp_bias", false);
  fields.require("attention_dropout", 0.0);
  fields.require("tie_word_embeddings", false);
  fields.require("scoring_func", "sigmoid");
  fields.require("topk_method", "noaux_tc");
  fields.require("moe_layer_freq", 1);
  fields.require("rope_interleave", true);           // MLA's rotary pairs are neighbours
  fields.require("indexer_rope_interleave", false);  // the indexer's are half a head apart
  fields.require("partial_rotary_factor", 1.0);
  fields.require("use_sparse_attention", true);
  fields.require("use_fp8_indexer", false);
  fields.require("is_encoder_decoder", false);
  fields.require_absent("quantization_config",
                        "no quantised weights (FP8 weights are not read: convert them to BF16 and "
                        "remove this field)");
  fields.require_absent("original_max_position_embeddings",
                        "this key inside rope_parameters or rope_scaling only");
}

void read_dimensions(JsonFields& fields, ModelConfig& config, const std::string& source,
                     std::vector<std::string>& warnings) {
  ShapeFields shape(fields);
  shape.read("vocab_size", config.vocab_size, 1);
  shape.read("hidden_size", config.hidden_size, 1);
  shape.read("intermediate_size", config.intermediate_size, 1);
  shape.read("moe_intermediate_size", config.moe_intermediate_size, 0);
  shape.read("num_hidden_layers", config.num_hidden_layers, 1, kMaxLayers);
  shape.read("num_attention_heads", config.num_attention_heads, 1);
  shape.read("num_key_value_heads", config.num_key_value_heads, 1);
  shape.read("n_routed_experts", config.n_routed_experts, 0);
  shape.read("n_shared_experts", config.n_shared_experts, 0);
  shape.read("num_experts_per_tok", config.num_experts_per_tok, 0);
  shape.read("n_group", config.n_group, 0);
  shape.read("topk_group", config.topk_group, 0);
  shape.read("q_lora_rank", config.q_lora_rank, 1);
  shape.read("kv_lora_rank", config.kv_lora_rank, 1);
  shape.read("qk_nope_head_dim", config.qk_nope_head_dim, 1);
  shape.read("qk_rope_head_dim", config.qk_rope_head_dim, 1);
  shape.read("v_head_dim", config.v_head_dim, 1);
  shape.read("index_n_heads", config.index_n_heads, 1);
  shape.read("index_head_dim", config.index_head_dim, 1);
  shape.read("index_topk", config.index_topk, 1);
  shape.read("max_position_embeddings", config.max_position_embeddings, 1);
  shape.report_absent(warnings, source);
}

/// Other names of n_routed_experts, and dimensions that follow from others: they may only agree.
void check_aliases(JsonFields& fields, ModelConfig& config, const std::string& source,
                   std::vector<std::string>& warnings) {
  const bool named = fields.find("n_routed_experts") != nullptr;
  for (const char* alias : {"num_experts", "num_local_experts"}) {
    if (fields.find(alias) == nullptr) {
      continue;
    }
    const std::int64_t experts = fields.integer(alias, 0, 0, kMaxDimension);
    if (named && experts != config.n_routed_experts) {
      fields.fail(alias, fmt::format("{}, as n_routed_experts says", config.n_routed_experts),
                  std::to_string(experts));
    }
    config.n_routed_experts = experts;
    warnings.push_back(
        fmt::format("{}: {}: read as n_routed_experts", source, fields.pointer(alias)));
  }
  fields.require("head_dim", config.qk_rope_head_dim);
  fields.require("qk_head_dim", config.qk_head_dim());
}

/// The member, which must be absent, null, or an array with one of `names` for every layer.
std::vector<std::string> read_layer_names(JsonFields& fields, const char* key, std::int64_t layers,
                                          std::span<const std::string_view> names,
                                          const std::string& source) {
  const Json* list = fields.find_value(key);
  if (list == nullptr) {
    return {};
  }
  if (!list->is_array() || list->size() != static_cast<std::size_t>(layers)) {
    fields.fail(key, fmt::format("an array of {}, one entry a layer", layers), describe(*list));
  }
  std::vector<std::string> entries;
  for (const Json& entry : *list) {
    const auto* name = entry.get_ptr<const std::string*>();
    SPARITY_CHECK_INPUT(name != nullptr && std::ranges::find(names, *name) != names.end(),
                        fmt::format("{}: {}/{}: expected {}, found {}", source, fields.pointer(key),
                                    entries.size(), fmt::join(names, " or "), describe(entry)));
    entries.push_back(*name);
  }
  return entries;
}

void read_layer_types(JsonFields& fields, ModelConfig& config, const std::string& source,
                      std::vector<std::string>& warnings) {
  constexpr std::array<std::string_view, 2> kAttention = {"indexed_attention",
                                                          "deepseek_sparse_attention"};
  constexpr std::array<std::string_view, 2> kMlp = {"dense", "sparse"};
  constexpr std::int64_t kReleasedDenseLayers = 3;
  read_layer_names(fields, "layer_types", config.num_hidden_layers, kAttention, source);
  const std::int64_t dense =
      fields.integer("first_k_dense_replace", kReleasedDenseLayers, 0, kMaxDimension);
  config.mlp_layer_types = mlp_layers_after(dense, config.num_hidden_layers);
  const auto names =
      read_layer_names(fields, "mlp_layer_types", config.num_hidden_layers, kMlp, source);
  if (names.empty()) {
    if (fields.find("first_k_dense_replace") == nullptr) {
      warnings.push_back(fmt::format(
          "{}: neither mlp_layer_types nor first_k_dense_replace is there: the first {} layers "
          "are taken as dense",
          source, kReleasedDenseLayers));
    }
    return;
  }
  std::vector<MlpType> types;
  for (const std::string& name : names) {
    types.push_back(name == kMlp[1] ? MlpType::kSparse : MlpType::kDense);
  }
  if (fields.find("first_k_dense_replace") != nullptr && types != config.mlp_layer_types) {
    warnings.push_back(
        fmt::format("{}: {}: says {}, mlp_layer_types says otherwise and is what counts", source,
                    fields.pointer("first_k_dense_replace"), dense));
  }
  config.mlp_layer_types = std::move(types);
}

std::optional<std::int64_t> read_token_id(JsonFields& fields, std::string_view key,
                                          std::optional<std::int64_t> fallback) {
  const Json* id = fields.find(key);
  if (id == nullptr || id->is_null()) {
    return id == nullptr ? fallback : std::nullopt;
  }
  if (!id->is_array()) {
    return fields.integer(key, 0, 0, kMaxDimension);
  }
  if (id->empty()) {
    return std::nullopt;
  }
  // Several ends of text: the first is the one to write.
  const Json& first = id->front();
  if (!first.is_number_unsigned() || first.get<std::uint64_t>() > kMaxDimension) {
    fields.fail(key, fmt::format("an integer from 0 to {}, or an array of such", kMaxDimension),
                fmt::format("an array that starts with {}", describe(first)));
  }
  return first.get<std::int64_t>();
}

}  // namespace

void ShapeFields::read(std::string_view key, std::int64_t& field, std::int64_t least,
                       std::int64_t most) {
  if (fields_.find(key) == nullptr) {
    absent_.push_back(fmt::format("{} = {}", key, field));
  }
  field = fields_.integer(key, field, least, most);
}

void ShapeFields::report_absent(std::vector<std::string>& warnings,
                                const std::string& source) const {
  if (!absent_.empty()) {
    warnings.push_back(fmt::format("{}: absent, so taken from the 671B model: {}", source,
                                   fmt::join(absent_, ", ")));
  }
}

std::vector<MlpType> mlp_layers_after(std::int64_t dense, std::int64_t layers) {
  std::vector<MlpType> types(static_cast<std::size_t>(layers), MlpType::kSparse);
  std::fill_n(types.begin(), std::min(dense, layers), MlpType::kDense);
  return types;
}

void warn_unread(const JsonFields& fields, const std::string& source,
                 std::vector<std::string>& warnings) {
  for (const std::string& pointer : fields.unread()) {
    warnings.push_back(fmt::format("{}: {}: unknown, ignored", source, pointer));
  }
}

ModelConfig read_hugging_face_config(const Json& document, const std::string& source,
                                     std::vector<std::string>& warnings) {
  JsonFields fields(document, source);
  constexpr const char* kModelType = "deepseek_v32";
  const std::string model_type = fields.text("model_type").value_or("");
  if (model_type != kModelType) {
    fields.fail("model_type", quote(kModelType), model_type.empty() ? "none" : quote(model_type));
  }
  refuse_unsupported(fields);
  ModelConfig config;
  read_dimensions(fields, config, source, warnings);
  check_aliases(fields, config, source, warnings);
  read_layer_types(fields, config, source, warnings);
  config.routed_scaling_factor =
      fields.number("routed_scaling_factor", config.routed_scaling_factor, 1e-6, 1e6);
  config.norm_topk_prob = fields.boolean("norm_topk_prob", config.norm_topk_prob);
  config.rms_norm_eps = fields.number("rms_norm_eps", config.rms_norm_eps, 1e-12, 1.0);
  config.initializer_range = fields.number("initializer_range", config.initializer_range, 0, 1e3);
  config.rope_parameters = read_rope_parameters(fields, config, source, warnings);
  config.bos_token_id = read_token_id(fields, "bos_token_id", config.bos_token_id);
  config.eos_token_id = read_token_id(fields, "eos_token_id", config.eos_token_id);
  config.pad_token_id = read_token_id(fields, "pad_token_id", config.pad_token_id);
  fields.ignore(kIgnoredHubFields);
  warn_unread(fields, source, warnings);
  return config;
}

}  // namespace sparity::core
