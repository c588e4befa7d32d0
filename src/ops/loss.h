#pragma once

#include <ATen/core/Tensor.h>

namespace sparity::ops {

struct LmLoss {
  at::Tensor loss;  // [] in f32(logits): mean over the counted labels, or sum / num_items
  std::int64_t counted = 0;
  std::int64_t ignored = 0;  // labels whose predicting position is padding
};

/// Labels that count: neither −100 nor in the first column, and predicted from a token.
std::int64_t counted_labels(const at::Tensor& labels, const at::Tensor& token_mask);

/// Cross entropy of position i against label i + 1 (spec 4.6): logsumexp(logits) − logits[label],
/// row by row; exponentials and differences in f32(logits), sums and logarithm in float64, rounded
/// to f32(logits) once. Gradient: (softmax − one at the label) / counted in
/// counted rows, else 0. labels I64 [B, S], −100 ignored; token_mask Bool [B, S]. With
/// `num_items` above 0 both are divided by that instead, so that micro-batches add up to a batch.
/// Throws (exit code 5) when no label counts and num_items is 0.
LmLoss lm_loss(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& token_mask,
               std::int64_t num_items = 0);

}  // namespace sparity::ops
