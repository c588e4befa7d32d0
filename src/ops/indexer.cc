#include "src/ops/indexer.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/ops/linear.h"
#include "src/ops/top_k.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

constexpr std::int64_t kQueryTile = 32;
constexpr std::int64_t kKeyTile = 256;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

/// scores[:, key0:key1] of one row of the batch: q [rows, Hi, Di], k [T, Di], w [rows, Hi], all
/// wide.
void score_key_tile(const at::Tensor& q, const at::Tensor& k, const at::Tensor& w,
                    std::int64_t key0, std::int64_t key1, at::Tensor scores) {
  const std::int64_t rows = q.size(0);
  const std::int64_t heads = q.size(1);
  at::Tensor dots = at::mm(q.reshape({rows * heads, -1}), k.narrow(0, key0, key1 - key0).t());
  if (!planted(Fault::kF45IndexerReluOmitted)) {
    dots.relu_();
  }
  scores.narrow(1, key0, key1 - key0)
      .copy_(at::bmm(w.unsqueeze(1), dots.view({rows, heads, key1 - key0})).squeeze(1));
}

/// Scores of queries [row0, row1) against every key that causality lets one of them see.
at::Tensor score_rows(const IndexOperands& wide, std::int64_t row0, std::int64_t row1,
                      std::int64_t reachable) {
  const std::int64_t batch = wide.k.size(0);
  const std::int64_t keys = wide.k.size(1);
  at::Tensor scores = at::full({batch, row1 - row0, keys}, kMinusInfinity, wide.k.options());
  const std::int64_t end = planted(Fault::kF51LastTileDropped) ? reachable - 1 : reachable;
  for (std::int64_t b = 0; b < batch; ++b) {
    const at::Tensor q = wide.q[b].narrow(0, row0, row1 - row0);
    const at::Tensor w = wide.weights[b].narrow(0, row0, row1 - row0);
    for (std::int64_t key0 = 0; key0 < end; key0 += kKeyTile) {
      score_key_tile(q, wide.k[b], w, key0, std::min(key0 + kKeyTile, end), scores[b]);
    }
  }
  return scores;
}

at::Tensor top_k_rows(const at::Tensor& scores, const at::Tensor& open, std::int64_t k) {
  const std::int64_t keys = scores.size(2);
  return top_k(scores.reshape({-1, keys}), open.reshape({-1, keys}), k)
      .view({scores.size(0), scores.size(1), -1});
}

}  // namespace

at::Tensor rotate_index_heads(const at::Tensor& x, const RotaryTable& table) {
  const std::int64_t rope = 2 * table.cos_sin.size(2);
  const at::Tensor rotated = rotate_half_split(x.narrow(-1, 0, rope), table);
  return at::cat({rotated, x.narrow(-1, rope, x.size(-1) - rope)}, -1);
}

at::Tensor hadamard(const at::Tensor& x) {
  const std::int64_t n = x.size(-1);
  SPARITY_CHECK(std::has_single_bit(static_cast<std::uint64_t>(n)),
                "hadamard: the last dimension is not a power of two");
  at::Tensor y = x.to(tensors::at_least_f32(x.scalar_type())).clone(at::MemoryFormat::Contiguous);
  for (std::int64_t half = 1; half < n; half *= 2) {
    const at::Tensor pairs = y.view({-1, n / (2 * half), 2, half});
    const at::Tensor low = pairs.select(2, 0);
    const at::Tensor high = pairs.select(2, 1);
    const at::Tensor sum = low.add(high);
    high.copy_(low.sub(high));
    low.copy_(sum);
  }
  if (!planted(Fault::kF44HadamardUnnormalised)) {
    y.mul_(1.0 / std::sqrt(static_cast<double>(n)));
  }
  return y.to(x.scalar_type());
}

at::Tensor index_head_weights(const at::Tensor& x, const at::Tensor& weights_proj,
                              std::int64_t index_head_dim) {
  const auto heads = static_cast<double>(
      planted(Fault::kF46HeadWeightScaleMissing) ? std::int64_t{1} : weights_proj.size(0));
  const double scale = 1.0 / std::sqrt(heads * static_cast<double>(index_head_dim));
  return wide_linear(x, weights_proj).mul(scale);
}

at::Tensor select_keys(const IndexOperands& operands, const KeyMask& mask, std::int64_t index_topk,
                       const tensors::Probe& probe) {
  const at::ScalarType type = operands.weights.scalar_type();
  const IndexOperands wide{operands.q.to(type), operands.k.to(type), operands.weights};
  const std::int64_t queries = wide.q.size(1);
  const std::int64_t keys = wide.k.size(1);
  at::Tensor indices =
      at::full({wide.q.size(0), queries, std::min(index_topk, keys)}, -1, at::kLong);
  const bool unmasked = planted(Fault::kF07NoMaskInIndexer);
  const bool mask_late = planted(Fault::kF08MaskAfterTopk);
  const std::int64_t leak = planted(Fault::kF05MaskLeaksOneToken) ? 1 : 0;
  for (std::int64_t row0 = 0; row0 < queries; row0 += kQueryTile) {
    const std::int64_t row1 = std::min(row0 + kQueryTile, queries);
    if (planted(Fault::kF49StaleTail) && row1 == queries && row0 > 0) {
      break;
    }
    const at::Tensor visible =
        unmasked ? mask.rows_without_causality(row0, row1) : mask.rows(row0, row1);
    const at::Tensor open = mask_late ? mask.rows_without_causality(row0, row1) : visible;
    const std::int64_t reachable = unmasked || mask_late ? keys : std::min(row1 + leak, keys);
    at::Tensor scores =
        score_rows(wide, row0, row1, reachable).masked_fill_(open.logical_not(), kMinusInfinity);
    scores = probe.tile("scores", queries, row0, scores);
    at::Tensor chosen = top_k_rows(scores, open, index_topk);
    if (mask_late) {
      const at::Tensor seen = visible.gather(2, chosen.clamp_min(0)).logical_and(chosen.ge(0));
      chosen = chosen.masked_fill(seen.logical_not(), -1);
    }
    indices.narrow(1, row0, row1 - row0).copy_(chosen);
  }
  return indices;
}

at::Tensor keep_visible(const at::Tensor& indices, const KeyMask& mask) {
  const std::int64_t keys = mask.tokens();
  SPARITY_CHECK_INPUT(!indices.lt(-1).logical_or(indices.ge(keys)).any().item().toBool(),
                      "forced topk_indices: expected -1 or a key from 0 to " +
                          std::to_string(keys - 1) + ", found another");
  at::Tensor kept = indices.clone();
  for (std::int64_t row0 = 0; row0 < indices.size(1); row0 += kQueryTile) {
    const std::int64_t rows = std::min(kQueryTile, indices.size(1) - row0);
    const at::Tensor tile = kept.narrow(1, row0, rows);
    const at::Tensor seen = mask.rows(row0, row0 + rows).gather(2, tile.clamp_min(0));
    tile.masked_fill_(seen.logical_not(), -1);
  }
  return kept;
}

}  // namespace sparity::ops
