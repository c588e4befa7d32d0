#pragma once

#include "src/tensors/adapter.h"

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

namespace sparity::ops {

/// A linear weight W in A, and what adapters add to it.
struct LinearWeight {
  at::Tensor base;                          // [out, in]
  std::vector<tensors::LowRankPair> pairs;  // in f32(A)

  LinearWeight() = default;
  LinearWeight(at::Tensor weight, std::vector<tensors::LowRankPair> on_it = {})
      : base(std::move(weight)), pairs(std::move(on_it)) {}
};

/// y = x · Wᵀ (spec 2.1). x [..., in] and weight [out, in] of one dtype; sums in f32 or wider,
/// rounded to that dtype once. With adapters, as PEFT does it (spec build-ground 4.1):
///   y = A(A(x · Wᵀ) + Σ scaling · (drop(x) · Aᵀ) · Bᵀ),
/// all but the first product in f32(A). `draw` is what dropout draws by; without one nothing is
/// dropped. drop(x) = x · mask / (1 − dropout).
at::Tensor linear(const at::Tensor& x, const LinearWeight& weight,
                  const std::optional<tensors::DropoutDraw>& draw = std::nullopt);

/// The same with y = f32(x) · f32(W)ᵀ and nothing rounded: the head, the router and the indexer's
/// head weights (D-13, D-34).
at::Tensor wide_linear(const at::Tensor& x, const LinearWeight& weight,
                       const std::optional<tensors::DropoutDraw>& draw = std::nullopt);

/// f32(W) + Σ scaling · B · A, where a weight is used before it meets an input (kv_b_proj in
/// absorbed form); W itself where nothing is on it. Differentiable in W, A and B.
at::Tensor effective_weight(const LinearWeight& weight);

/// What arrives at a weight and its input, given dy [N, out] in A. Undefined where nothing wants
/// it.
struct LinearGradients {
  at::Tensor x;                   // [N, in] in A, or in f32(A) where pairs add to it
  std::vector<at::Tensor> terms;  // in the order of `terms_of`
};

/// W, then A and B of every pair.
std::vector<at::Tensor> terms_of(const LinearWeight& weight);

/// The backward of `linear` without dropout, x [N, in]: dx = dy · W + Σ scaling · (dy · B) · A, dW
/// = dyᵀ · x, dB = scaling · dyᵀ · (x · Aᵀ), dA = scaling · (dy · B)ᵀ · x; for terms that take a
/// gradient.
LinearGradients linear_backward(const at::Tensor& x, const LinearWeight& weight,
                                const at::Tensor& dy);

/// Rows of `table` [V, D] for `ids` I64 [B, S] → [B, S, D] (spec 2.4). The table's gradient adds up
/// in f32(A) in the order of the tokens, and is rounded to A once.
at::Tensor embedding(const at::Tensor& ids, const at::Tensor& table);

}  // namespace sparity::ops
