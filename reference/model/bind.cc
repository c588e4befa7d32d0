#include "reference/model/model.h"
#include "src/core/error.h"
#include "src/core/tensor_manifest.h"
#include "src/tensors/at_dtype.h"

#include <fmt/format.h>

#include <set>
#include <string>

namespace sparity::reference::model {
namespace {

/// Hands out each parameter once, in the dtype it is kept in, and knows what was never asked for.
class Binder {
 public:
  Binder(const tensors::WeightStore& store, const core::ModelConfig& config, at::ScalarType compute,
         core::Recipe recipe)
      : store_(store), manifest_(config), compute_(compute), recipe_(recipe) {}

  at::Tensor take(const std::string& name) {
    SPARITY_CHECK(consumed_.insert(name).second, fmt::format("{}: bound twice", name));
    return store_.get(name, kept_dtype(name));
  }

  void check_all_consumed() const {
    for (const core::ParameterSpec& spec : manifest_.parameters()) {
      SPARITY_CHECK(consumed_.contains(spec.name),
                    fmt::format("{}: in the manifest but never read", spec.name));
    }
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
  std::set<std::string> consumed_;
};

MlpWeights bind_mlp(Binder& binder, const std::string& prefix) {
  return {.gate_proj = binder.take(prefix + "gate_proj.weight"),
          .up_proj = binder.take(prefix + "up_proj.weight"),
          .down_proj = binder.take(prefix + "down_proj.weight")};
}

MoeWeights bind_moe(Binder& binder, const std::string& prefix, std::int64_t expert_count) {
  MoeWeights weights = {.gate_weight = binder.take(prefix + "gate.weight"),
                        .gate_bias = binder.take(prefix + "gate.e_score_correction_bias"),
                        .experts = {},
                        .shared_experts = bind_mlp(binder, prefix + "shared_experts.")};
  for (std::int64_t expert = 0; expert < expert_count; ++expert) {
    weights.experts.push_back(bind_mlp(binder, fmt::format("{}experts.{}.", prefix, expert)));
  }
  return weights;
}

IndexerWeights bind_indexer(Binder& binder, const std::string& prefix) {
  return {.wq_b = binder.take(prefix + "wq_b.weight"),
          .wk = binder.take(prefix + "wk.weight"),
          .k_norm_weight = binder.take(prefix + "k_norm.weight"),
          .k_norm_bias = binder.take(prefix + "k_norm.bias"),
          .weights_proj = binder.take(prefix + "weights_proj.weight")};
}

AttentionWeights bind_attention(Binder& binder, const std::string& prefix) {
  return {.q_a_proj = binder.take(prefix + "q_a_proj.weight"),
          .q_a_layernorm = binder.take(prefix + "q_a_layernorm.weight"),
          .q_b_proj = binder.take(prefix + "q_b_proj.weight"),
          .kv_a_proj_with_mqa = binder.take(prefix + "kv_a_proj_with_mqa.weight"),
          .kv_a_layernorm = binder.take(prefix + "kv_a_layernorm.weight"),
          .kv_b_proj = binder.take(prefix + "kv_b_proj.weight"),
          .o_proj = binder.take(prefix + "o_proj.weight"),
          .indexer = bind_indexer(binder, prefix + "indexer.")};
}

LayerWeights bind_layer(Binder& binder, const core::ModelConfig& config, std::int64_t index) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  LayerWeights weights = {
      .input_layernorm = binder.take(prefix + "input_layernorm.weight"),
      .self_attn = bind_attention(binder, prefix + "self_attn."),
      .post_attention_layernorm = binder.take(prefix + "post_attention_layernorm.weight"),
      .mlp = {}};
  if (config.is_moe_layer(index)) {
    weights.mlp = bind_moe(binder, prefix + "mlp.", config.n_routed_experts);
  } else {
    weights.mlp = bind_mlp(binder, prefix + "mlp.");
  }
  return weights;
}

}  // namespace

ReferenceModel ReferenceModel::bind(const tensors::WeightStore& store,
                                    const core::ModelConfig& config, at::ScalarType compute,
                                    core::Recipe recipe) {
  SPARITY_CHECK(compute == at::kDouble || compute == at::kFloat || compute == at::kBFloat16,
                "the reference computes in float64, float32 or bfloat16");
  Binder binder(store, config, compute, recipe);
  ReferenceModel model{.config = config,
                       .compute = compute,
                       .recipe = recipe,
                       .embed_tokens = binder.take("model.embed_tokens.weight"),
                       .layers = {},
                       .norm = binder.take("model.norm.weight"),
                       .lm_head = binder.take("lm_head.weight")};
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    model.layers.push_back(bind_layer(binder, config, index));
  }
  binder.check_all_consumed();
  return model;
}

}  // namespace sparity::reference::model
