#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sparity::reference::scalar {

/// How a router chooses and weighs, under Hugging Face's names.
struct RouterRule {
  std::size_t n_group = 1;
  std::size_t topk_group = 1;
  std::size_t num_experts_per_tok = 1;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1.0;
};

/// Where one token goes.
struct TokenRouting {
  std::vector<double> scores;         // [E] sigmoid, without the bias
  std::vector<std::int64_t> indices;  // [K] by (biased score descending, index ascending)
  std::vector<double> weights;        // [K] in the order of `indices`
};

/// Routes one token of router logits [E]: scores = sigmoid(logits); scores + bias decide which
/// groups (by the sum of their two best experts) and which experts in them; the weights are the
/// unbiased scores of those, divided by their sum when `norm_topk_prob`, times
/// `routed_scaling_factor`. Throws std::invalid_argument unless the groups are equal, of at least
/// two experts. Spec 2.11.
TokenRouting route(std::span<const double> logits, std::span<const double> bias,
                   const RouterRule& rule);

}  // namespace sparity::reference::scalar
