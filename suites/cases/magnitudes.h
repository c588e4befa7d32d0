#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>

namespace sparity::cases {

/// A truth's tensor by its name in a trace ("layers.0", "grad.layers.0"), undefined where it shows
/// none. What the sizes below are formed from, in the suites and for dumps alike.
using Shown = std::function<at::Tensor(const std::string& name)>;

/// How much larger the terms of a KL loss's gradient are than the gradient, q − p over the keys
/// that it sums over: (‖q‖ + ‖p‖) / ‖q − p‖ with q the softmax of `scores` over the keys where
/// `score_gradient` is not zero, and p the `target` there. All [B, S, T]. Not set where q is p.
std::optional<double> kl_cancellation(const at::Tensor& scores, const at::Tensor& target,
                                      const at::Tensor& score_gradient);

/// The size of what was summed up to the gradient `of_truth` named `name`, where that may cancel:
/// of an indexer's, the terms q and p of its loss; of others, the gradient that arrives at their
/// layer, beside which sums over tokens or heads may be small. Not set outside of layers.
std::optional<double> summed_size(const std::string& name, const Shown& truth,
                                  const at::Tensor& of_truth);

/// Σ_h |w_h| · <|q_h|, |k|> [B, S, T] in float64, which the index scores `name` of few tokens may
/// be small beside; −inf where they are. Undefined where `name` is not of index scores, or the
/// truth lacks the operands.
at::Tensor score_terms(const std::string& name, const Shown& truth);

}  // namespace sparity::cases
