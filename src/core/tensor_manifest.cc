#include "src/core/tensor_manifest.h"

#include "src/core/error.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace sparity::core {

namespace {

using Shape = std::vector<std::int64_t>;

/// Appends parameters in checkpoint order.
class Lister {
 public:
  Lister(const ModelConfig& config, std::vector<ParameterSpec>& parameters)
      : config_(config), parameters_(parameters) {}

  void list_model() {
    add("model.embed_tokens.weight", {config_.vocab_size, config_.hidden_size},
        ParameterRole::kEmbedding);
    for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      list_layer(layer);
    }
    add_gain("model.norm.weight", config_.hidden_size);
    add("lm_head.weight", {config_.vocab_size, config_.hidden_size}, ParameterRole::kHead,
        KeptDtype::kF32Official);
  }

 private:
  void add(std::string name, Shape shape, ParameterRole role,
           KeptDtype kept = KeptDtype::kActivation) {
    parameters_.push_back({std::move(name), std::move(shape), role, kept});
  }

  void add_gain(std::string name, std::int64_t size) {
    add(std::move(name), {size}, ParameterRole::kNormGain, KeptDtype::kF32Official);
  }

  void list_layer(std::int64_t layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    add_gain(prefix + "input_layernorm.weight", config_.hidden_size);
    list_attention(prefix + "self_attn.");
    list_indexer(prefix + "self_attn.indexer.");
    add_gain(prefix + "post_attention_layernorm.weight", config_.hidden_size);
    if (config_.is_moe_layer(layer)) {
      list_experts(prefix + "mlp.");
    } else {
      list_mlp(prefix + "mlp.", config_.intermediate_size, ParameterRole::kMlp);
    }
  }

  void list_attention(const std::string& prefix) {
    const std::int64_t heads = config_.num_attention_heads;
    const auto role = ParameterRole::kAttention;
    add(prefix + "q_a_proj.weight", {config_.q_lora_rank, config_.hidden_size}, role);
    add_gain(prefix + "q_a_layernorm.weight", config_.q_lora_rank);
    add(prefix + "q_b_proj.weight", {heads * config_.qk_head_dim(), config_.q_lora_rank}, role);
    add(prefix + "kv_a_proj_with_mqa.weight",
        {config_.kv_lora_rank + config_.qk_rope_head_dim, config_.hidden_size}, role);
    add_gain(prefix + "kv_a_layernorm.weight", config_.kv_lora_rank);
    add(prefix + "kv_b_proj.weight",
        {heads * (config_.qk_nope_head_dim + config_.v_head_dim), config_.kv_lora_rank}, role);
    add(prefix + "o_proj.weight", {config_.hidden_size, heads * config_.v_head_dim}, role);
  }

  void list_indexer(const std::string& prefix) {
    const std::int64_t dim = config_.index_head_dim;
    const auto role = ParameterRole::kIndexer;
    add(prefix + "wq_b.weight", {config_.index_n_heads * dim, config_.q_lora_rank}, role);
    add(prefix + "wk.weight", {dim, config_.hidden_size}, role);
    add(prefix + "k_norm.weight", {dim}, ParameterRole::kIndexerNormGain, KeptDtype::kF32Official);
    add(prefix + "k_norm.bias", {dim}, ParameterRole::kIndexerNormBias, KeptDtype::kF32Official);
    add(prefix + "weights_proj.weight", {config_.index_n_heads, config_.hidden_size}, role,
        KeptDtype::kF32Official);
  }

  void list_experts(const std::string& prefix) {
    add(prefix + "gate.weight", {config_.n_routed_experts, config_.hidden_size},
        ParameterRole::kRouter);
    add(prefix + "gate.e_score_correction_bias", {config_.n_routed_experts},
        ParameterRole::kRouterBias, KeptDtype::kF32);
    for (std::int64_t expert = 0; expert < config_.n_routed_experts; ++expert) {
      list_mlp(fmt::format("{}experts.{}.", prefix, expert), config_.moe_intermediate_size,
               ParameterRole::kExpert);
    }
    list_mlp(prefix + "shared_experts.", config_.n_shared_experts * config_.moe_intermediate_size,
             ParameterRole::kSharedExpert);
  }

  void list_mlp(const std::string& prefix, std::int64_t width, ParameterRole role) {
    add(prefix + "gate_proj.weight", {width, config_.hidden_size}, role);
    add(prefix + "up_proj.weight", {width, config_.hidden_size}, role);
    add(prefix + "down_proj.weight", {config_.hidden_size, width}, role);
  }

  const ModelConfig& config_;
  std::vector<ParameterSpec>& parameters_;
};

bool belongs_to_indexer(ParameterRole role) {
  return role == ParameterRole::kIndexer || role == ParameterRole::kIndexerNormGain ||
         role == ParameterRole::kIndexerNormBias;
}

}  // namespace

std::int64_t ParameterSpec::numel() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

Dtype stored_dtype(const ParameterSpec& spec, Dtype activation, Recipe recipe) {
  const bool in_f32 = spec.kept == KeptDtype::kF32 ||
                      (spec.kept == KeptDtype::kF32Official && recipe == Recipe::kOfficial);
  return in_f32 && size_of(activation) < size_of(Dtype::kF32) ? Dtype::kF32 : activation;
}

TensorManifest::TensorManifest(const ModelConfig& config)
    : mtp_prefix_(fmt::format("model.layers.{}.", config.num_hidden_layers)) {
  validate(config, "model config");
  Lister(config, parameters_).list_model();
  index_.reserve(parameters_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const ParameterSpec& spec = parameters_[i];
    index_.emplace(spec.name, i);
    SPARITY_CHECK_INPUT(!__builtin_add_overflow(total_, spec.numel(), &total_),
                        "model config: expected fewer than 2^63 parameters, found more");
  }
}

const ParameterSpec& TensorManifest::at(const std::string& name) const {
  const auto found = index_.find(name);
  SPARITY_CHECK(found != index_.end(),
                fmt::format("{}: not a parameter of the model", quote(name)));
  return parameters_[found->second];
}

std::int64_t TensorManifest::parameter_count() const { return total_; }

std::int64_t TensorManifest::indexer_parameter_count() const {
  std::int64_t count = 0;
  for (const ParameterSpec& spec : parameters_) {
    count += belongs_to_indexer(spec.role) ? spec.numel() : 0;
  }
  return count;
}

bool TensorManifest::is_mtp(const std::string& name) const { return name.starts_with(mtp_prefix_); }

}  // namespace sparity::core
