#pragma once

#include "src/tensors/adapter.h"

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

namespace sparity::reference::model {

/// A linear layer: its weight, and what adapters add to it.
struct Linear {
  at::Tensor weight;  // [m, n]
  std::vector<tensors::LowRankPair> pairs;
  /// In a training pass, which draw of dropout the pairs' inputs meet; else they meet none.
  std::optional<tensors::DropoutDraw> draw;

  Linear() = default;
  /// A bare weight is a linear layer.
  Linear(at::Tensor bare) : weight(std::move(bare)) {}  // NOLINT(google-explicit-constructor)

  /// The same layer with its weight in `type`. Pairs stay as they are.
  Linear to(at::ScalarType type) const;
};

/// ΔW = scaling · B · A, [m, n] in `type`. Spec build-ground 4.1.
at::Tensor weight_change(const tensors::LowRankPair& pair, at::ScalarType type);

/// y = x · Wᵀ, x [..., n], weight [m, n] of the same dtype → [..., m], rounded to it once. Pairs
/// add Σ drop(x) · ΔWᵀ in f32 or wider to the rounded product, and the sum is rounded once more.
/// drop(x) = x · mask / (1 − p) of each pair's own `tensors::dropout_mask`. Spec 2.1, build-ground
/// 4.1.
at::Tensor linear(const at::Tensor& x, const Linear& layer);

}  // namespace sparity::reference::model
