#pragma once

#include <ATen/core/Tensor.h>

namespace sparity::ops {

/// y = x · Wᵀ (spec 2.1). x [..., in] and weight [out, in] of one dtype; sums in f32 or wider,
/// rounded to that dtype once.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight);

/// y = f32(x) · f32(W)ᵀ, not rounded: the head, the router and the indexer's head weights (D-13,
/// D-34).
at::Tensor wide_linear(const at::Tensor& x, const at::Tensor& weight);

/// Rows of `table` [V, D] for `ids` I64 [B, S] → [B, S, D] (spec 2.4). The table's gradient adds up
/// in f32(A) in the order of the tokens, and is rounded to A once.
at::Tensor embedding(const at::Tensor& ids, const at::Tensor& table);

}  // namespace sparity::ops
