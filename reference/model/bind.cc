#include "reference/model/assemble.h"
#include "reference/model/model.h"
#include "src/core/error.h"
#include "src/core/tensor_manifest.h"
#include "src/tensors/at_dtype.h"

#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>

namespace sparity::reference::model {
namespace {

/// Hands out each parameter once, in the dtype it is kept in, and knows what was never asked for.
class Binder {
 public:
  Binder(const tensors::WeightStore& store, const core::ModelConfig& config, at::ScalarType compute,
         core::Recipe recipe)
      : store_(store), manifest_(config), compute_(compute), recipe_(recipe) {}

  at::Tensor take(const std::string& name) {
    const auto [taken, first] = taken_.emplace(name, store_.get(name, kept_dtype(name)));
    SPARITY_CHECK(first, fmt::format("{}: bound twice", name));
    return taken->second;
  }

  /// What was handed out: every parameter of the manifest.
  std::map<std::string, at::Tensor> all_taken() const {
    for (const core::ParameterSpec& spec : manifest_.parameters()) {
      SPARITY_CHECK(taken_.contains(spec.name),
                    fmt::format("{}: in the manifest but never read", spec.name));
    }
    return taken_;
  }

 private:
  // Only bfloat16 keeps some parameters wider than its activations.
  at::ScalarType kept_dtype(const std::string& name) const {
    if (compute_ != at::kBFloat16) {
      return compute_;
    }
    return tensors::to_scalar_type(
        core::stored_dtype(manifest_.at(name), tensors::to_dtype(compute_), recipe_));
  }

  const tensors::WeightStore& store_;
  core::TensorManifest manifest_;
  at::ScalarType compute_;
  core::Recipe recipe_;
  std::map<std::string, at::Tensor> taken_;
};

MlpWeights bind_mlp(const Take& take, const std::string& prefix) {
  return {.gate_proj = take(prefix + "gate_proj.weight"),
          .up_proj = take(prefix + "up_proj.weight"),
          .down_proj = take(prefix + "down_proj.weight")};
}

MoeWeights bind_moe(const Take& take, const std::string& prefix, std::int64_t expert_count) {
  MoeWeights weights = {.gate_weight = take(prefix + "gate.weight"),
                        .gate_bias = take(prefix + "gate.e_score_correction_bias"),
                        .experts = {},
                        .shared_experts = bind_mlp(take, prefix + "shared_experts.")};
  for (std::int64_t expert = 0; expert < expert_count; ++expert) {
    weights.experts.push_back(bind_mlp(take, fmt::format("{}experts.{}.", prefix, expert)));
  }
  return weights;
}

IndexerWeights bind_indexer(const Take& take, const std::string& prefix) {
  return {.wq_b = take(prefix + "wq_b.weight"),
          .wk = take(prefix + "wk.weight"),
          .k_norm_weight = take(prefix + "k_norm.weight"),
          .k_norm_bias = take(prefix + "k_norm.bias"),
          .weights_proj = take(prefix + "weights_proj.weight")};
}

AttentionWeights bind_attention(const Take& take, const std::string& prefix) {
  return {.q_a_proj = take(prefix + "q_a_proj.weight"),
          .q_a_layernorm = take(prefix + "q_a_layernorm.weight"),
          .q_b_proj = take(prefix + "q_b_proj.weight"),
          .kv_a_proj_with_mqa = take(prefix + "kv_a_proj_with_mqa.weight"),
          .kv_a_layernorm = take(prefix + "kv_a_layernorm.weight"),
          .kv_b_proj = take(prefix + "kv_b_proj.weight"),
          .o_proj = take(prefix + "o_proj.weight"),
          .indexer = bind_indexer(take, prefix + "indexer.")};
}

LayerWeights bind_layer(const Take& take, const core::ModelConfig& config, std::int64_t index) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  LayerWeights weights = {
      .input_layernorm = take(prefix + "input_layernorm.weight"),
      .self_attn = bind_attention(take, prefix + "self_attn."),
      .post_attention_layernorm = take(prefix + "post_attention_layernorm.weight"),
      .mlp = {}};
  if (config.is_moe_layer(index)) {
    weights.mlp = bind_moe(take, prefix + "mlp.", config.n_routed_experts);
  } else {
    weights.mlp = bind_mlp(take, prefix + "mlp.");
  }
  return weights;
}

}  // namespace

ReferenceModel assemble(const core::ModelConfig& config, at::ScalarType compute,
                        core::Recipe recipe, const Take& take) {
  ReferenceModel model{.config = config,
                       .compute = compute,
                       .recipe = recipe,
                       .embed_tokens = take("model.embed_tokens.weight"),
                       .layers = {},
                       .norm = take("model.norm.weight"),
                       .lm_head = take("lm_head.weight"),
                       .parameters = {}};
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    model.layers.push_back(bind_layer(take, config, index));
  }
  return model;
}

ReferenceModel with_parameters(const ReferenceModel& model,
                               std::map<std::string, at::Tensor> parameters) {
  ReferenceModel other = assemble(model.config, model.compute, model.recipe,
                                  [&](const std::string& name) { return parameters.at(name); });
  other.parameters = std::move(parameters);
  return other;
}

ReferenceModel ReferenceModel::bind(const tensors::WeightStore& store,
                                    const core::ModelConfig& config, at::ScalarType compute,
                                    core::Recipe recipe) {
  SPARITY_CHECK(compute == at::kDouble || compute == at::kFloat || compute == at::kBFloat16,
                "the reference computes in float64, float32 or bfloat16");
  Binder binder(store, config, compute, recipe);
  ReferenceModel model =
      assemble(config, compute, recipe, [&](const std::string& name) { return binder.take(name); });
  model.parameters = binder.all_taken();
  return model;
}

}  // namespace sparity::reference::model
