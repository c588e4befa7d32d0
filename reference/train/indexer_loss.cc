#include "reference/train/indexer_loss.h"

#include "reference/model/attention.h"
#include "reference/model/query_chunks.h"
#include "src/core/error.h"
#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace sparity::reference::train {
namespace {

constexpr double kMasked = -std::numeric_limits<double>::infinity();
constexpr double kLeastLog = -100.0;

/// x rounded to what the options take logarithms and probabilities in, and widened again.
at::Tensor rounded(const at::Tensor& x, const core::KlOptions& options, at::ScalarType activation) {
  return options.precision == core::KlPrecision::kActivation ? x.to(activation).to(x.scalar_type())
                                                             : x;
}

/// `kl_target` of a few queries.
at::Tensor target_chunk(const at::Tensor& q, const at::Tensor& k, double scale, const RowKeys& keys,
                        const core::KlOptions& options, at::ScalarType activation) {
  const bool selected = options.target == core::KlTarget::kSelected;
  const at::Tensor softmax_keys = selected ? keys.support : keys.valid;
  const at::Tensor heads =
      model::masked_softmax(model::attention_logits(q, k, scale), softmax_keys.unsqueeze(1))
          .probabilities;                                                // [B, H, s, T]
  const at::Tensor summed = rounded(heads, options, activation).sum(1);  // [B, s, T]
  const at::Tensor on_support = summed.masked_fill(keys.support.logical_not(), 0.0);
  const bool restricted = options.target == core::KlTarget::kRestricted;
  at::Tensor divisor = (restricted ? summed : on_support).sum(-1, /*keepdim=*/true);
  if (options.guard == core::KlGuard::kAddToTarget) {
    divisor = divisor + core::kKlEpsilon;
  }
  const at::Tensor target = on_support / divisor.masked_fill(divisor == 0.0, 1.0);
  return rounded(target, options, activation);
}

/// ln softmax of the scores over `keys`, 0 elsewhere; no NaN in either direction.
at::Tensor log_softmax(const at::Tensor& scores, const at::Tensor& keys) {
  const at::Tensor others = keys.logical_not();
  const at::Tensor empty = keys.any(-1, /*keepdim=*/true).logical_not();
  const at::Tensor masked = scores.masked_fill(others, kMasked);
  const at::Tensor largest = masked.detach().amax(-1, /*keepdim=*/true).masked_fill(empty, 0.0);
  const at::Tensor shifted = masked - largest;
  const at::Tensor sum = shifted.exp().sum(-1, /*keepdim=*/true).masked_fill(empty, 1.0);
  return shifted.masked_fill(others, 0.0) - sum.log();
}

/// What the guard makes of ln p, p > 0.
at::Tensor guarded_log_p(const at::Tensor& p, core::KlGuard guard) {
  switch (guard) {
    case core::KlGuard::kNone:
      return p.log();
    case core::KlGuard::kAddToTarget:
    case core::KlGuard::kAddToBoth:
      return (p + core::kKlEpsilon).log();
    case core::KlGuard::kClampTarget:
      return p.clamp_min(core::kKlEpsilon).log();
    case core::KlGuard::kClampLogs:
      return p.log().clamp(kLeastLog, 0.0);
  }
  core::throw_error(core::ExitCode::kHarnessFault, "unknown KlGuard", __FILE__, __LINE__);
}

/// What the guard makes of ln q.
at::Tensor guarded_log_q(const at::Tensor& log_q, core::KlGuard guard) {
  switch (guard) {
    case core::KlGuard::kNone:
    case core::KlGuard::kAddToTarget:
    case core::KlGuard::kClampTarget:
      return log_q;
    case core::KlGuard::kAddToBoth:
      return (log_q.exp() + core::kKlEpsilon).log();
    case core::KlGuard::kClampLogs:
      return log_q.clamp(kLeastLog, 0.0);
  }
  core::throw_error(core::ExitCode::kHarnessFault, "unknown KlGuard", __FILE__, __LINE__);
}

}  // namespace

at::Tensor kl_target(const at::Tensor& q, const at::Tensor& k, double scale, const RowKeys& keys,
                     const core::KlOptions& options, at::ScalarType activation) {
  const at::NoGradGuard detached;
  const std::int64_t queries = q.size(1);
  const auto element_bytes =
      static_cast<std::int64_t>(c10::elementSize(tensors::at_least_f32(q.scalar_type())));
  const std::int64_t step =
      model::queries_per_chunk(queries, q.size(0) * q.size(2) * k.size(1) * element_bytes);
  std::vector<at::Tensor> chunks;
  for (std::int64_t first = 0; first < queries; first += step) {
    const std::int64_t rows = std::min(step, queries - first);
    const RowKeys few = {keys.support.narrow(1, first, rows), keys.valid.narrow(1, first, rows)};
    chunks.push_back(target_chunk(q.narrow(1, first, rows), k, scale, few, options, activation));
  }
  return at::cat(chunks, 1);
}

at::Tensor kl_rows(const at::Tensor& target, const at::Tensor& scores, const RowKeys& keys,
                   const core::KlOptions& options, at::ScalarType activation) {
  const bool selected = options.support == core::KlSupport::kSelected;
  const at::Tensor log_q = log_softmax(scores, selected ? keys.support : keys.valid);
  const at::Tensor absent = (keys.support & (target > 0.0)).logical_not();
  const at::Tensor p = target.masked_fill(absent, 0.0);
  const at::Tensor log_p = guarded_log_p(p.masked_fill(absent, 1.0), options.guard);
  const at::Tensor difference =
      log_p - rounded(guarded_log_q(log_q, options.guard), options, activation);
  return (p * difference).sum(-1);
}

std::int64_t counted_rows(const at::Tensor& valid) {
  return valid.any(-1).sum().item<std::int64_t>();
}

double kl_divisor(core::KlReduction reduction, const KlCounts& counts) {
  SPARITY_CHECK_INPUT(counts.rows > 0,
                      "KL loss: expected at least one token that sees a key, found none");
  const auto layers = static_cast<double>(counts.layers);
  switch (reduction) {
    case core::KlReduction::kSum:
      return 1.0;
    case core::KlReduction::kMeanRowsLayers:
      return layers * static_cast<double>(counts.rows);
    case core::KlReduction::kMeanPositionsLayers:
      return layers * static_cast<double>(counts.positions);
    case core::KlReduction::kNumItems:
      SPARITY_CHECK_INPUT(counts.items.value_or(0) > 0,
                          "KL loss: num_items: expected how many items the reduction divides by, "
                          "at least 1, found none");
      return layers * static_cast<double>(*counts.items);
    case core::KlReduction::kLayerSumOfRowMeans:
      return static_cast<double>(counts.rows);
  }
  core::throw_error(core::ExitCode::kHarnessFault, "unknown KlReduction", __FILE__, __LINE__);
}

}  // namespace sparity::reference::train
