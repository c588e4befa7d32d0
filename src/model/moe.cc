#include "src/model/moe.h"

#include "src/core/fault.h"
#include "src/core/profile_scope.h"
#include "src/ops/balance.h"
#include "src/ops/moe.h"
#include "src/ops/router.h"

#include <utility>

namespace sparity::model {

ops::MlpWeights bind_mlp(const BoundWeights& weights, const std::string& prefix) {
  return {
      .gate_proj = weights.linear(prefix + "gate_proj.weight"),
      .up_proj = weights.linear(prefix + "up_proj.weight"),
      .down_proj = weights.linear(prefix + "down_proj.weight"),
  };
}

Moe Moe::bind(const BoundWeights& weights, const std::string& prefix,
              const core::ModelConfig& config) {
  Moe moe{
      .gate_weight = weights.linear(prefix + "gate.weight"),
      .e_score_correction_bias = weights.at(prefix + "gate.e_score_correction_bias"),
      .experts = {},
      .shared_experts = bind_mlp(weights, prefix + "shared_experts."),
  };
  for (std::int64_t e = 0; e < config.n_routed_experts; ++e) {
    moe.experts.push_back(bind_mlp(weights, prefix + "experts." + std::to_string(e) + "."));
  }
  if (core::planted(core::Fault::kF108ExpertsSwappedAtLoad)) {
    std::swap(moe.experts.front(), moe.experts.back());
  }
  return moe;
}

at::Tensor Moe::forward(const at::Tensor& x, const ForwardContext& context,
                        const tensors::Probe& probe, LayerLosses& losses) const {
  const tensors::Probe inner = probe.scope("mlp");
  const ops::Routing routing = core::profiled("router", [&] {
    return ops::route(x, gate_weight, e_score_correction_bias, context.config, inner.scope("gate"),
                      context.dropout);
  });
  if (context.objective.wants_balance()) {
    const at::Tensor& tokens = context.mask.token_mask();
    losses.balance =
        ops::balance_loss(routing.scores, routing.indices, tokens, context.objective.balance);
    losses.load = ops::expert_load(routing.indices, tokens, context.config.n_routed_experts);
  }
  const at::Tensor routed = inner("experts", core::profiled("routed experts", [&] {
                                    return ops::routed_experts(x, routing, experts);
                                  }));
  const at::Tensor shared = inner("shared_experts", core::profiled("shared experts", [&] {
                                    return ops::mlp(x, shared_experts, context.dropout);
                                  }));
  const core::ProfileScope scope("expert sum");
  return routed.add(shared.to(routed.scalar_type())).to(x.scalar_type());
}

}  // namespace sparity::model
