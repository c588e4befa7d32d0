#include "reference/model/loss.h"

#include "src/core/error.h"
#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gather.h>

namespace sparity::reference::model {
namespace {

constexpr std::int64_t kNoLabel = -100;

/// ln softmax over the last dimension.
at::Tensor log_softmax(const at::Tensor& logits) {
  const at::Tensor shifted = logits - logits.detach().amax(-1, /*keepdim=*/true);
  return shifted - shifted.exp().sum(-1, /*keepdim=*/true).log();
}

/// What each position but the last is to predict, [B, S−1], and which of them are labels that
/// count.
struct Targets {
  at::Tensor labels;
  at::Tensor labelled;
  at::Tensor counted;
};

Targets targets_of(const at::Tensor& labels, const at::Tensor& token_mask) {
  const std::int64_t predictions = labels.size(1) - 1;
  const at::Tensor targets = labels.narrow(1, 1, predictions);
  const at::Tensor labelled = targets != kNoLabel;
  return {targets, labelled, labelled & token_mask.narrow(1, 0, predictions)};
}

}  // namespace

std::int64_t counted_labels(const at::Tensor& labels, const at::Tensor& token_mask) {
  return targets_of(labels, token_mask).counted.sum().item<std::int64_t>();
}

LmSum lm_loss_sum(const at::Tensor& logits, const at::Tensor& labels,
                  const at::Tensor& token_mask) {
  const auto [targets, labelled, counted] = targets_of(labels, token_mask);
  const std::int64_t predictions = targets.size(1);

  LmSum result;
  result.counted = counted.sum().item<std::int64_t>();
  result.ignored = labelled.sum().item<std::int64_t>() - result.counted;

  const at::Tensor wide =
      logits.narrow(1, 0, predictions).to(tensors::at_least_f32(logits.scalar_type()));
  const at::Tensor chosen =
      at::gather(log_softmax(wide), -1, targets.masked_fill(counted.logical_not(), 0).unsqueeze(-1))
          .squeeze(-1);
  result.sum = -chosen.masked_fill(counted.logical_not(), 0.0).sum();
  return result;
}

LmLoss lm_loss(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& token_mask) {
  const LmSum all = lm_loss_sum(logits, labels, token_mask);
  SPARITY_CHECK_INPUT(all.counted > 0,
                      "labels: expected at least one label after a token, found none");
  return {all.sum / static_cast<double>(all.counted), all.counted, all.ignored};
}

}  // namespace sparity::reference::model
