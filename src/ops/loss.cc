#include "src/ops/loss.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <cmath>

namespace sparity::ops {

namespace {

constexpr std::int64_t kIgnoredLabel = -100;

/// −log softmax(row)[label]. Summed in float64: after the largest term, float32 would lose a bit of
/// every small one, and a vocabulary has many.
template <typename T>
double negative_log_likelihood(const T* row, std::int64_t vocabulary, std::int64_t label) {
  using W = Wide<T>;
  W largest = static_cast<W>(row[0]);
  for (std::int64_t v = 1; v < vocabulary; ++v) {
    largest = std::max(largest, static_cast<W>(row[v]));
  }
  double sum = 0;
  for (std::int64_t v = 0; v < vocabulary; ++v) {
    sum += static_cast<double>(std::exp(static_cast<W>(row[v]) - largest));
  }
  // The difference first: an almost certain label costs far less than its logit's last bit.
  return std::log(sum) + static_cast<double>(largest - static_cast<W>(row[label]));
}

}  // namespace

LmLoss lm_loss(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& token_mask) {
  const std::int64_t shift = core::planted(core::Fault::kF54LabelShiftOff) ? 0 : 1;
  const std::int64_t tokens = logits.size(1);
  const std::int64_t vocabulary = logits.size(2);
  const at::Tensor logits_in = logits.contiguous();
  const at::Tensor labels_in = labels.contiguous();
  const at::Tensor tokens_in = token_mask.contiguous();
  const auto* label = labels_in.const_data_ptr<std::int64_t>();
  const auto* is_token = tokens_in.const_data_ptr<bool>();
  LmLoss result;
  double sum = 0;
  dispatch_activation(logits.scalar_type(), [&](auto tag) {
    using T = decltype(tag);
    const T* rows = logits_in.const_data_ptr<T>();
    for (std::int64_t i = 0; i < logits.size(0) * tokens; ++i) {
      if (i % tokens + shift >= tokens || label[i + shift] == kIgnoredLabel) {
        continue;
      }
      if (!is_token[i]) {
        ++result.ignored;
        continue;
      }
      ++result.counted;
      sum += negative_log_likelihood(rows + i * vocabulary, vocabulary, label[i + shift]);
    }
  });
  SPARITY_CHECK_INPUT(result.counted > 0,
                      "'labels': expected at least one label to learn from, found none that is not "
                      "-100, in the first column or predicted from padding");
  result.loss =
      at::scalar_tensor(sum / static_cast<double>(result.counted),
                        logits.options().dtype(tensors::at_least_f32(logits.scalar_type())));
  return result;
}

}  // namespace sparity::ops
