#include "reference/model/router.h"

#include "src/core/error.h"
#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <limits>
#include <tuple>

namespace sparity::reference::model {
namespace {

constexpr double kUnselected = -std::numeric_limits<double>::infinity();
constexpr double kHfDenominatorEps = 1e-20;  // D-30

/// Values and indices along the last dimension by (value descending, index ascending). Adding +0
/// makes −0 and +0 one value.
std::tuple<at::Tensor, at::Tensor> sort_descending(const at::Tensor& values) {
  return at::sort(values + 0.0, /*stable=*/true, /*dim=*/-1, /*descending=*/true);
}

/// choice [..., E] with the experts of every group but the best `topk_group` at −inf. A group is
/// worth the sum of its two best experts (D-29).
at::Tensor limit_to_best_groups(const at::Tensor& choice, const core::ModelConfig& config) {
  const at::Tensor grouped = choice.unflatten(-1, {config.n_group, -1});  // [..., G, E/G]
  const at::Tensor best = std::get<0>(sort_descending(grouped));
  const at::Tensor worth = best.select(-1, 0) + best.select(-1, 1);  // [..., G]
  const at::Tensor chosen = std::get<1>(sort_descending(worth)).narrow(-1, 0, config.topk_group);
  const at::Tensor kept = at::zeros_like(worth, at::kBool).scatter(-1, chosen, true);
  return grouped.masked_fill(kept.logical_not().unsqueeze(-1), kUnselected).flatten(-2);
}

void check_expert_indices(const at::Tensor& indices, std::int64_t experts) {
  if (indices.numel() == 0) {
    return;
  }
  const auto lowest = indices.min().item<std::int64_t>();
  const auto highest = indices.max().item<std::int64_t>();
  SPARITY_CHECK_INPUT(lowest >= 0 && highest < experts,
                      fmt::format("topk_indices: expected experts in 0 … {}, found {} … {}",
                                  experts - 1, lowest, highest));
}

}  // namespace

at::Tensor router_scores(const at::Tensor& x, const Linear& weight) {
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  return at::sigmoid(linear(x.to(wide), weight.to(wide)));
}

at::Tensor select_experts(const at::Tensor& scores, const at::Tensor& bias,
                          const core::ModelConfig& config) {
  const at::Tensor choice = scores.detach() + bias.detach().to(scores.scalar_type());
  const at::Tensor eligible = limit_to_best_groups(choice, config);
  return std::get<1>(sort_descending(eligible)).narrow(-1, 0, config.num_experts_per_tok);
}

at::Tensor expert_weights(const at::Tensor& scores, const at::Tensor& indices,
                          const core::ModelConfig& config, core::Recipe recipe) {
  check_expert_indices(indices, scores.size(-1));
  at::Tensor weights = at::gather(scores, -1, indices);
  if (config.norm_topk_prob) {
    const at::Tensor sum = weights.sum(-1, /*keepdim=*/true);
    weights = weights / (recipe == core::Recipe::kHf ? sum + kHfDenominatorEps : sum);
  }
  return weights * config.routed_scaling_factor;
}

Routing route(const at::Tensor& x, const Linear& weight, const at::Tensor& bias,
              const core::ModelConfig& config, core::Recipe recipe, const tensors::Probe& probe) {
  Routing routing;
  routing.scores = probe("scores", router_scores(x, weight));
  routing.indices = probe("topk_indices", select_experts(routing.scores, bias, config));
  routing.weights =
      probe("topk_weights", expert_weights(routing.scores, routing.indices, config, recipe));
  return routing;
}

}  // namespace sparity::reference::model
