#pragma once

#include "src/core/objective.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sparity::ops {

/// One MoE layer's balance loss without its coefficient (spec 4.7; DeepSeek-V3 equations 17 to 20):
///   L = Σ_i f_i · P_i,  f_i = E / (K·n) · #{tokens whose choice holds expert i},
///   P_i = (1/n) Σ_t s[t,i] / Σ_j s[t,j]
/// over the n tokens of one sequence, then the mean over sequences that have a token; or over the
/// tokens of all sequences at once. Padding does not count. f carries no gradient; perfect balance
/// gives 1. scores [B, S, E] unbiased, f32(A); chosen I64 [B, S, K]: the router's own choice, read
/// when `options.routing` wants it; else the K best unbiased scores, ties to the lower expert.
/// token_mask Bool [B, S]. → [] in f32(A); sums in float64.
at::Tensor balance_loss(const at::Tensor& scores, const at::Tensor& chosen,
                        const at::Tensor& token_mask, const core::BalanceOptions& options);

/// How many tokens chose each expert: I64 [E]. chosen I64 [B, S, K], token_mask Bool [B, S].
at::Tensor expert_load(const at::Tensor& chosen, const at::Tensor& token_mask,
                       std::int64_t experts);

/// The selection bias after a step: b_i + rate · sign(mean load − load_i), sign(0) = 0 (spec 4.7).
/// bias float32 [E], load I64 [E], over the whole batch of the step.
at::Tensor updated_bias(const at::Tensor& bias, const at::Tensor& load, double rate);

}  // namespace sparity::ops
