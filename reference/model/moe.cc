#include "reference/model/moe.h"

#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros_like.h>

namespace sparity::reference::model {

at::Tensor routed_experts(const at::Tensor& x, const at::Tensor& indices, const at::Tensor& weights,
                          const std::vector<MlpWeights>& experts, core::Recipe recipe) {
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  const at::Tensor tokens = x.flatten(0, -2);         // [N, D]
  const at::Tensor slot_experts = indices.flatten();  // [N·K]
  const at::Tensor slot_weights = weights.flatten();  // [N·K]
  const std::int64_t slots_per_token = indices.size(-1);
  at::Tensor sum = at::zeros_like(tokens, wide);
  for (std::size_t expert = 0; expert < experts.size(); ++expert) {
    const at::Tensor slots =
        (slot_experts == static_cast<std::int64_t>(expert)).nonzero().flatten();
    if (slots.numel() == 0) {
      continue;
    }
    const at::Tensor rows = slots.floor_divide(slots_per_token);
    const at::Tensor output = mlp(at::index_select(tokens, 0, rows), experts[expert], recipe);
    const at::Tensor weight = at::index_select(slot_weights, 0, slots).unsqueeze(-1);
    sum.index_add_(0, rows, output.to(wide) * weight);
  }
  return sum.view_as(x);
}

at::Tensor moe(const at::Tensor& x, const MoeWeights& weights, const core::ModelConfig& config,
               core::Recipe recipe, const tensors::Probe& probe, Routing* routing) {
  const Routing chosen =
      route(x, weights.gate_weight, weights.gate_bias, config, recipe, probe.scope("gate"));
  if (routing != nullptr) {
    *routing = chosen;
  }
  at::Tensor routed = routed_experts(x, chosen.indices, chosen.weights, weights.experts, recipe);
  if (recipe == core::Recipe::kHf) {
    routed = routed.to(x.scalar_type());
  }
  routed = probe("experts", routed);
  const at::Tensor shared = probe("shared_experts", mlp(x, weights.shared_experts, recipe));
  return (routed + shared.to(routed.scalar_type())).to(x.scalar_type());
}

}  // namespace sparity::reference::model
