#include "src/model/block.h"

#include "src/core/fault.h"
#include "src/core/profile_scope.h"
#include "src/tensors/at_dtype.h"

#include <algorithm>
#include <initializer_list>

namespace sparity::model {

namespace {

at::Tensor dense_mlp(const at::Tensor& x, const ops::MlpWeights& weights,
                     const ForwardContext& context) {
  const core::ProfileScope scope("dense MLP");
  return ops::mlp(x, weights, context.dropout);
}

}  // namespace

ops::NormedResidual norm_stream(const LayerState& state, const at::Tensor& gain, double eps) {
  const core::ProfileScope scope("norms");
  if (!state.residual.defined()) {
    return {ops::rms_norm(state.hidden, gain, eps), state.hidden};
  }
  return ops::add_rms_norm(state.hidden, state.residual, gain, eps);
}

at::Tensor stream_of(const LayerState& state) {
  if (!state.residual.defined()) {
    return state.hidden;
  }
  const at::ScalarType activation = state.hidden.scalar_type();
  const at::ScalarType wide = tensors::at_least_f32(activation);
  return state.hidden.to(wide).add(state.residual.to(wide)).to(activation);
}

Block Block::bind(const BoundWeights& weights, const core::ModelConfig& config,
                  std::int64_t layer) {
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  Block block{
      .input_layernorm = weights.at(prefix + "input_layernorm.weight"),
      .self_attn = Mla::bind(weights, prefix + "self_attn."),
      .post_attention_layernorm = weights.at(prefix + "post_attention_layernorm.weight"),
      .mlp = {},
  };
  if (config.is_moe_layer(layer)) {
    block.mlp = Moe::bind(weights, prefix + "mlp.", config);
  } else {
    block.mlp = bind_mlp(weights, prefix + "mlp.");
  }
  return block;
}

std::vector<at::Tensor> Block::differentiable(const core::Objective& objective) const {
  std::vector<at::Tensor> all = {input_layernorm, self_attn.q_a_layernorm, self_attn.kv_a_layernorm,
                                 post_attention_layernorm};
  const auto add = [&](std::initializer_list<const ops::LinearWeight*> weights) {
    for (const ops::LinearWeight* weight : weights) {
      const std::vector<at::Tensor> terms = ops::terms_of(*weight);
      all.insert(all.end(), terms.begin(), terms.end());
    }
  };
  const auto add_mlp = [&](const ops::MlpWeights& part) {
    add({&part.gate_proj, &part.up_proj, &part.down_proj});
  };
  add({&self_attn.q_a_proj, &self_attn.q_b_proj, &self_attn.kv_a_proj_with_mqa,
       &self_attn.kv_b_proj, &self_attn.o_proj});
  if (const auto* moe = std::get_if<Moe>(&mlp)) {
    add({&moe->gate_weight});
    std::ranges::for_each(moe->experts, add_mlp);
    add_mlp(moe->shared_experts);
  } else {
    add_mlp(std::get<ops::MlpWeights>(mlp));
  }
  if (objective.kl) {
    const Indexer& indexer = self_attn.indexer;
    add({&indexer.wq_b, &indexer.wk, &indexer.weights_proj});
    all.insert(all.end(), {indexer.k_norm_weight, indexer.k_norm_bias});
  }
  return all;
}

LayerState Block::forward(const LayerState& state, const ForwardContext& context,
                          const tensors::Probe& probe, LayerLosses& losses) const {
  const double eps = context.config.rms_norm_eps;
  const ops::NormedResidual before = norm_stream(state, input_layernorm, eps);
  const at::Tensor attended =
      self_attn.forward(probe("input_layernorm", before.normed), context, probe, losses);
  const at::Tensor& residual =
      core::planted(core::Fault::kF61ResidualFromNorm) ? before.normed : before.residual;
  const ops::NormedResidual after =
      norm_stream({attended, residual}, post_attention_layernorm, eps);
  const at::Tensor x = probe("post_attention_layernorm", after.normed);
  const auto* moe = std::get_if<Moe>(&mlp);
  const at::Tensor hidden =
      probe("mlp", moe != nullptr ? moe->forward(x, context, probe, losses)
                                  : dense_mlp(x, std::get<ops::MlpWeights>(mlp), context));
  return {hidden, after.residual};
}

}  // namespace sparity::model
