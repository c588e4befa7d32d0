#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sparity::reference::model {

/// Cross entropy added up, before any division.
struct LmSum {
  at::Tensor sum;            // [], f32 or wider
  std::int64_t counted = 0;  // labels in the sum; it is 0 without any
  std::int64_t ignored = 0;  // labels left out because their predicting position is padding
};

struct LmLoss {
  at::Tensor loss;           // [], f32 or wider
  std::int64_t counted = 0;  // labels in the mean
  std::int64_t ignored = 0;  // labels left out because their predicting position is padding
};

/// How many labels `lm_loss_sum` counts: labels I64 [B, S], token_mask Bool [B, S].
std::int64_t counted_labels(const at::Tensor& labels, const at::Tensor& token_mask);

/// Next-token cross entropy: the sum over counted labels of −ln
/// softmax(logits[b,i])[labels[b,i+1]]. logits [B, S, V] of any floating dtype, widened to f32 or
/// more first; labels I64 [B, S], not shifted, −100 for none; token_mask Bool [B, S]. Spec 4.6.
LmSum lm_loss_sum(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& token_mask);

/// The mean over counted labels, `lm_loss_sum` / counted. Throws (exit code 5) when no label is
/// left. Spec 4.6.
LmLoss lm_loss(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& token_mask);

}  // namespace sparity::reference::model
