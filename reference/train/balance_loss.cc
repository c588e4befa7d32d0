#include "reference/train/balance_loss.h"

#include "src/core/error.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/stack.h>

#include <tuple>
#include <vector>

namespace sparity::reference::train {
namespace {

/// How often each expert occurs in `chosen` [T, K]: I64 [E].
at::Tensor occurrences(const at::Tensor& chosen, std::int64_t experts) {
  const at::Tensor expert = at::arange(experts, chosen.options());
  return (chosen.unsqueeze(-1) == expert).sum(at::IntArrayRef{0, 1});
}

/// Σ_i f_i · P_i of T tokens: scores [T, E], chosen [T, K].
at::Tensor balance_of(const at::Tensor& scores, const at::Tensor& chosen) {
  const std::int64_t experts = scores.size(-1);
  const double per_choice = static_cast<double>(experts) / static_cast<double>(chosen.numel());
  const at::Tensor f = occurrences(chosen, experts).to(scores.scalar_type()) * per_choice;
  const at::Tensor shares = scores / scores.sum(-1, /*keepdim=*/true);
  return (f * shares.mean(0)).sum();
}

/// The indices of a mask's true entries.
at::Tensor positions_of(const at::Tensor& mask) { return mask.flatten().nonzero().flatten(); }

}  // namespace

at::Tensor balance_loss(const at::Tensor& scores, const at::Tensor& indices,
                        const at::Tensor& token_mask, const core::BalanceOptions& options) {
  at::Tensor chosen = indices;
  if (options.routing == core::BalanceRouting::kUnbiased) {
    const at::Tensor order =
        std::get<1>(at::sort(scores.detach(), /*stable=*/true, /*dim=*/-1, /*descending=*/true));
    chosen = order.narrow(-1, 0, indices.size(-1));
  }
  const bool batch = options.scope == core::BalanceScope::kBatch;
  const std::int64_t groups = batch ? 1 : scores.size(0);
  const at::Tensor grouped_scores = scores.reshape({groups, -1, scores.size(-1)});
  const at::Tensor grouped_chosen = chosen.reshape({groups, -1, chosen.size(-1)});
  const at::Tensor grouped_mask = token_mask.reshape({groups, -1});
  std::vector<at::Tensor> values;
  for (std::int64_t group = 0; group < groups; ++group) {
    const at::Tensor tokens = positions_of(grouped_mask[group]);
    if (tokens.numel() > 0) {
      values.push_back(balance_of(at::index_select(grouped_scores[group], 0, tokens),
                                  at::index_select(grouped_chosen[group], 0, tokens)));
    }
  }
  SPARITY_CHECK_INPUT(!values.empty(), "balance loss: expected at least one token, found none");
  return at::stack(values).mean() * options.coefficient;
}

at::Tensor expert_load(const at::Tensor& indices, const at::Tensor& token_mask,
                       std::int64_t experts) {
  return occurrences(at::index_select(indices.flatten(0, 1), 0, positions_of(token_mask)), experts);
}

at::Tensor bias_update(const at::Tensor& bias, const at::Tensor& load, double rate) {
  const at::Tensor exact = load.to(at::kDouble);
  return bias + ((exact.mean() - exact).sign() * rate).to(bias.scalar_type());
}

}  // namespace sparity::reference::train
