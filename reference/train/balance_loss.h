#pragma once

#include "src/core/objective.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sparity::reference::train {

/// The balance loss of one MoE layer, coefficient included: coefficient · Σ_i f_i · P_i, where of
/// the T tokens of a row (kSequence: then the mean over rows that hold one) or of the whole batch
/// (kBatch), f_i = E / (K·T) · those that chose expert i and P_i = mean s_i / Σ_j s_j. scores [B,
/// S, E], the router's, f32 or wider; indices I64 [B, S, K], what it chose; token_mask Bool [B, S].
/// kUnbiased counts the top K of the scores instead of `indices`, ties to the lower expert. The
/// result [] has the scores' dtype and is differentiable in them through P. Throws (exit code 5)
/// without a token. Spec 4.7.
at::Tensor balance_loss(const at::Tensor& scores, const at::Tensor& indices,
                        const at::Tensor& token_mask, const core::BalanceOptions& options);

/// How many tokens chose each expert: I64 [E]. indices I64 [B, S, K], token_mask Bool [B, S].
at::Tensor expert_load(const at::Tensor& indices, const at::Tensor& token_mask,
                       std::int64_t experts);

/// b + rate · sign(mean load − load), sign(0) = 0. bias [E] and the result in the bias's dtype,
/// load I64 [E], of the whole batch. Spec 4.7.
at::Tensor bias_update(const at::Tensor& bias, const at::Tensor& load, double rate);

}  // namespace sparity::reference::train
