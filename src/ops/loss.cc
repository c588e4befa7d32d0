#include "src/ops/loss.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/tensors/at_dtype.h"

#include <ATen/Parallel.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace sparity::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kIgnoredLabel = -100;

/// What a row's softmax divides by: Σ exp(x − largest).
template <typename W>
struct Normaliser {
  W largest;
  double sum = 0;

  /// Summed in float64: after the largest term, float32 would lose a bit of every small one, and a
  /// vocabulary has many.
  template <typename T>
  Normaliser(const T* row, std::int64_t vocabulary) : largest(static_cast<W>(row[0])) {
    for (std::int64_t v = 1; v < vocabulary; ++v) {
      largest = std::max(largest, static_cast<W>(row[v]));
    }
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      sum += static_cast<double>(std::exp(static_cast<W>(row[v]) - largest));
    }
  }
};

/// −log softmax(row)[label].
template <typename T>
double negative_log_likelihood(const T* row, std::int64_t vocabulary, std::int64_t label) {
  using W = Wide<T>;
  const Normaliser<W> row_sum(row, vocabulary);
  // The difference first: an almost certain label costs far less than its logit's last bit.
  return std::log(row_sum.sum) + static_cast<double>(row_sum.largest - static_cast<W>(row[label]));
}

/// The label that position i of a row counts against, or −100; position i predicts label i + 1.
class Targets {
 public:
  Targets(const at::Tensor& labels, const at::Tensor& token_mask)
      : labels_(labels.contiguous()),
        token_mask_(token_mask.contiguous()),
        label_(labels_.const_data_ptr<std::int64_t>()),
        is_token_(token_mask_.const_data_ptr<bool>()),
        tokens_(labels.size(1)),
        shift_(core::planted(core::Fault::kF54LabelShiftOff) ? 0 : 1) {}

  std::int64_t label(std::int64_t i) const {
    return i % tokens_ + shift_ >= tokens_ ? kIgnoredLabel : label_[i + shift_];
  }
  bool counts(std::int64_t i) const { return label(i) != kIgnoredLabel && is_token_[i]; }
  /// Has a label that padding would predict.
  bool ignored(std::int64_t i) const { return label(i) != kIgnoredLabel && !is_token_[i]; }

 private:
  at::Tensor labels_;
  at::Tensor token_mask_;
  const std::int64_t* label_;
  const bool* is_token_;
  std::int64_t tokens_;
  std::int64_t shift_;
};

template <typename T>
void loss_gradient_row(const T* row, std::int64_t vocabulary, std::int64_t label, Wide<T> scale,
                       T* out) {
  using W = Wide<T>;
  const Normaliser<W> row_sum(row, vocabulary);
  const W share = scale / static_cast<W>(row_sum.sum);
  for (std::int64_t v = 0; v < vocabulary; ++v) {
    const W probability = std::exp(static_cast<W>(row[v]) - row_sum.largest) * share;
    out[v] = static_cast<T>(v == label ? probability - scale : probability);
  }
}

struct CrossEntropy : torch::autograd::Function<CrossEntropy> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits,
                            const at::Tensor& labels, const at::Tensor& token_mask,
                            std::int64_t counted) {
    context->save_for_backward({logits, labels, token_mask});
    context->saved_data["counted"] = counted;
    const at::Tensor input = logits.contiguous();
    const Targets targets(labels, token_mask);
    const std::int64_t vocabulary = logits.size(2);
    std::vector<double> losses(static_cast<std::size_t>(labels.numel()), 0.0);
    dispatch_activation(logits.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      const T* rows = input.const_data_ptr<T>();
      at::parallel_for(0, labels.numel(), 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          if (targets.counts(i)) {
            losses[static_cast<std::size_t>(i)] =
                negative_log_likelihood(rows + i * vocabulary, vocabulary, targets.label(i));
          }
        }
      });
    });
    // One after another, so that no bit depends on the number of threads.
    const double sum = std::accumulate(losses.begin(), losses.end(), 0.0);
    return at::scalar_tensor(sum / static_cast<double>(counted),
                             logits.options().dtype(tensors::at_least_f32(logits.scalar_type())));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor input = saved[0].contiguous();
    const Targets targets(saved[1], saved[2]);
    const std::int64_t vocabulary = input.size(2);
    at::Tensor result = at::zeros_like(input);
    const std::int64_t counted = core::planted(core::Fault::kF83LossGradientOverAllTokens)
                                     ? saved[1].numel()
                                     : context->saved_data["counted"].toInt();
    const double scale = gradients[0].item().toDouble() / static_cast<double>(counted);
    dispatch_activation(input.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      const T* rows = input.const_data_ptr<T>();
      T* out = result.mutable_data_ptr<T>();
      at::parallel_for(0, saved[1].numel(), 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          if (targets.counts(i)) {
            loss_gradient_row(rows + i * vocabulary, vocabulary, targets.label(i),
                              static_cast<Wide<T>>(scale), out + i * vocabulary);
          }
        }
      });
    });
    return {result, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

std::int64_t counted_labels(const at::Tensor& labels, const at::Tensor& token_mask) {
  const Targets targets(labels, token_mask);
  std::int64_t counted = 0;
  for (std::int64_t i = 0; i < labels.numel(); ++i) {
    counted += targets.counts(i) ? 1 : 0;
  }
  return counted;
}

LmLoss lm_loss(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& token_mask,
               std::int64_t num_items) {
  const Targets targets(labels, token_mask);
  LmLoss result;
  result.counted = counted_labels(labels, token_mask);
  for (std::int64_t i = 0; i < labels.numel(); ++i) {
    result.ignored += targets.ignored(i) ? 1 : 0;
  }
  SPARITY_CHECK_INPUT(result.counted > 0 || num_items > 0,
                      "'labels': expected at least one label to learn from, found none that is not "
                      "-100, in the first column or predicted from padding");
  result.loss =
      CrossEntropy::apply(logits, labels, token_mask, num_items > 0 ? num_items : result.counted);
  return result;
}

}  // namespace sparity::ops
