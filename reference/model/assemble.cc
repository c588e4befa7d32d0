#include "reference/model/assemble.h"

#include "src/core/error.h"
#include "src/core/tensor_manifest.h"

#include <fmt/format.h>

#include <utility>

namespace sparity::reference::model {
namespace {

/// Hands out each parameter once, by checkpoint name, with the pairs that change it.
class Parts {
 public:
  Parts(std::map<std::string, at::Tensor> parameters, const std::vector<tensors::Adapter>& adapters,
        std::optional<tensors::DropoutDraw> draw)
      : parameters_(std::move(parameters)), pairs_(tensors::pairs_of(adapters)), draw_(draw) {}

  at::Tensor bare(const std::string& name) {
    const auto found = parameters_.extract(name);
    SPARITY_CHECK(!found.empty(), fmt::format("{}: missing, or bound twice", name));
    return found.mapped();
  }

  Linear linear(const std::string& name) {
    Linear layer(bare(name));
    const auto pairs = pairs_.extract(name);
    if (!pairs.empty()) {
      layer.pairs = pairs.mapped();
      layer.draw = draw_;
    }
    return layer;
  }

  void expect_all_taken() const {
    for (const auto& [name, parameter] : parameters_) {
      SPARITY_CHECK(false, fmt::format("{}: a parameter that was never read", name));
    }
    for (const auto& [name, pairs] : pairs_) {
      SPARITY_CHECK(false, fmt::format("{}: an adapter of no linear layer", name));
    }
  }

 private:
  std::map<std::string, at::Tensor> parameters_;  // that nobody took yet, as
  tensors::AdapterPairs pairs_;                   // these
  std::optional<tensors::DropoutDraw> draw_;
};

MlpWeights bind_mlp(Parts& parts, const std::string& prefix) {
  return {.gate_proj = parts.linear(prefix + "gate_proj.weight"),
          .up_proj = parts.linear(prefix + "up_proj.weight"),
          .down_proj = parts.linear(prefix + "down_proj.weight")};
}

MoeWeights bind_moe(Parts& parts, const std::string& prefix, std::int64_t expert_count) {
  MoeWeights weights = {.gate_weight = parts.linear(prefix + "gate.weight"),
                        .gate_bias = parts.bare(prefix + "gate.e_score_correction_bias"),
                        .experts = {},
                        .shared_experts = bind_mlp(parts, prefix + "shared_experts.")};
  for (std::int64_t expert = 0; expert < expert_count; ++expert) {
    weights.experts.push_back(bind_mlp(parts, fmt::format("{}experts.{}.", prefix, expert)));
  }
  return weights;
}

IndexerWeights bind_indexer(Parts& parts, const std::string& prefix) {
  return {.wq_b = parts.linear(prefix + "wq_b.weight"),
          .wk = parts.linear(prefix + "wk.weight"),
          .k_norm_weight = parts.bare(prefix + "k_norm.weight"),
          .k_norm_bias = parts.bare(prefix + "k_norm.bias"),
          .weights_proj = parts.linear(prefix + "weights_proj.weight")};
}

AttentionWeights bind_attention(Parts& parts, const std::string& prefix) {
  return {.q_a_proj = parts.linear(prefix + "q_a_proj.weight"),
          .q_a_layernorm = parts.bare(prefix + "q_a_layernorm.weight"),
          .q_b_proj = parts.linear(prefix + "q_b_proj.weight"),
          .kv_a_proj_with_mqa = parts.linear(prefix + "kv_a_proj_with_mqa.weight"),
          .kv_a_layernorm = parts.bare(prefix + "kv_a_layernorm.weight"),
          .kv_b_proj = parts.linear(prefix + "kv_b_proj.weight"),
          .o_proj = parts.linear(prefix + "o_proj.weight"),
          .indexer = bind_indexer(parts, prefix + "indexer.")};
}

LayerWeights bind_layer(Parts& parts, const core::ModelConfig& config, std::int64_t index) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  LayerWeights weights = {
      .input_layernorm = parts.bare(prefix + "input_layernorm.weight"),
      .self_attn = bind_attention(parts, prefix + "self_attn."),
      .post_attention_layernorm = parts.bare(prefix + "post_attention_layernorm.weight"),
      .mlp = {}};
  if (config.is_moe_layer(index)) {
    weights.mlp = bind_moe(parts, prefix + "mlp.", config.n_routed_experts);
  } else {
    weights.mlp = bind_mlp(parts, prefix + "mlp.");
  }
  return weights;
}

}  // namespace

ReferenceModel assemble(const core::ModelConfig& config, at::ScalarType compute,
                        core::Recipe recipe, std::map<std::string, at::Tensor> parameters,
                        std::vector<tensors::Adapter> adapters,
                        const std::optional<tensors::DropoutDraw>& draw) {
  Parts parts(parameters, adapters, draw);
  ReferenceModel model{.config = config,
                       .compute = compute,
                       .recipe = recipe,
                       .embed_tokens = parts.bare("model.embed_tokens.weight"),
                       .layers = {},
                       .norm = parts.bare("model.norm.weight"),
                       .lm_head = parts.linear("lm_head.weight"),
                       .parameters = std::move(parameters),
                       .adapters = std::move(adapters)};
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    model.layers.push_back(bind_layer(parts, config, index));
  }
  parts.expect_all_taken();
  return model;
}

ReferenceModel with_parameters(const ReferenceModel& model,
                               std::map<std::string, at::Tensor> parameters) {
  return assemble(model.config, model.compute, model.recipe, std::move(parameters), model.adapters);
}

std::map<std::string, at::Tensor> trainable(const ReferenceModel& model) {
  std::map<std::string, at::Tensor> tensors;
  for (const tensors::Adapter& adapter : model.adapters) {
    for (const auto& [file_name, tensor] : adapter.tensors) {
      tensors.emplace(tensors::name_in_memory(file_name, adapter.name), tensor);
    }
  }
  if (model.adapters.empty()) {
    const core::TensorManifest manifest(model.config);
    for (const auto& [name, parameter] : model.parameters) {
      if (manifest.at(name).role != core::ParameterRole::kRouterBias) {
        tensors.emplace(name, parameter);
      }
    }
  }
  return tensors;
}

ReferenceModel with_values(const ReferenceModel& model,
                           const std::map<std::string, at::Tensor>& values) {
  std::map<std::string, at::Tensor> parameters = model.parameters;
  std::vector<tensors::Adapter> adapters = model.adapters;
  std::map<std::string, at::Tensor*> places;
  for (auto& [name, parameter] : parameters) {
    places.emplace(name, &parameter);
  }
  for (tensors::Adapter& adapter : adapters) {
    for (auto& [file_name, tensor] : adapter.tensors) {
      places.emplace(tensors::name_in_memory(file_name, adapter.name), &tensor);
    }
  }
  for (const auto& [name, value] : values) {
    SPARITY_CHECK(places.contains(name), fmt::format("{}: no tensor of this model", name));
    *places.at(name) = value;
  }
  return assemble(model.config, model.compute, model.recipe, std::move(parameters),
                  std::move(adapters));
}

ReferenceModel with_dropout(const ReferenceModel& model, const tensors::DropoutDraw& draw) {
  return assemble(model.config, model.compute, model.recipe, model.parameters, model.adapters,
                  draw);
}

}  // namespace sparity::reference::model
