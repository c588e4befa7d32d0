#include "src/ops/attention.h"

#include "src/core/fault.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <limits>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
/// Gathered keys of one tile take at most about this many numbers.
constexpr std::int64_t kGatherBudget = 1 << 21;

/// exp(x − max) with the sum, guarded for rows without a key.
struct SoftmaxRows {
  at::Tensor probabilities;  // [rows, H, K]
  at::Tensor lse;            // [rows, H]
};

/// logits [rows, H, K], −inf = no key.
SoftmaxRows masked_softmax(const at::Tensor& logits) {
  const std::int64_t axis = planted(Fault::kF09SoftmaxOverWrongAxis) ? 1 : -1;
  const at::Tensor largest = logits.amax(axis, true);
  const at::Tensor shift = largest.masked_fill(largest.isinf(), 0.0);
  const at::Tensor weights = logits.sub(shift).exp();
  const at::Tensor sum = weights.sum(axis, true);
  const at::Tensor probabilities = weights.div(sum.masked_fill(sum.eq(0.0), 1.0));
  if (axis == 1) {
    return {probabilities, logits.logsumexp(std::vector<std::int64_t>{-1})};
  }
  return {probabilities, sum.log().add(shift).squeeze(-1)};
}

/// One tile of one batch row. q [rows, H, Rkv + Dr] absorbed, keys [T, Rkv + Dr],
/// indices [rows, K].
struct TileResult {
  at::Tensor latent;  // [rows, H, Rkv]
  at::Tensor lse;     // [rows, H]
};

TileResult attend_tile(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& indices,
                       std::int64_t rank, double scale) {
  const std::int64_t rows = indices.size(0);
  const std::int64_t width = indices.size(1);
  const at::Tensor gathered =
      keys.index_select(0, indices.clamp_min(0).reshape({-1})).view({rows, width, -1});
  const at::Tensor logits =
      at::bmm(q, gathered.transpose(1, 2))
          .mul_(scale)  // on the product: one rounding, not one per channel of q
          .masked_fill_(indices.lt(0).unsqueeze(1), kMinusInfinity);
  const SoftmaxRows softmax = masked_softmax(logits);
  return {at::bmm(softmax.probabilities, gathered.narrow(-1, 0, rank)), softmax.lse};
}

}  // namespace

AttentionResult sparse_attention(const AttentionOperands& operands, const at::Tensor& indices) {
  const at::ScalarType activation = operands.q_nope.scalar_type();
  const at::ScalarType wide = tensors::at_least_f32(activation);
  const std::int64_t batch = operands.q_nope.size(0);
  const std::int64_t queries = operands.q_nope.size(1);
  const std::int64_t heads = operands.q_nope.size(2);
  const std::int64_t nope = operands.q_nope.size(3);
  const std::int64_t rank = operands.kv.size(2);
  const std::int64_t values = operands.v_head_dim();
  const at::Tensor up = operands.kv_b_proj.to(wide).view({heads, nope + values, rank});
  const at::Tensor key_up = up.narrow(1, 0, nope);                         // [H, Dn, Rkv]
  const at::Tensor value_up = up.narrow(1, nope, values).transpose(1, 2);  // [H, Rkv, Dv]
  const at::Tensor keys = at::cat({operands.kv, operands.k_rot}, -1).to(wide);
  const std::int64_t per_row = indices.size(2) * (rank + operands.k_rot.size(2));
  const std::int64_t tile = std::clamp<std::int64_t>(kGatherBudget / per_row, 1, 64);

  AttentionResult result{at::empty({batch, queries, heads, values}, operands.q_nope.options()),
                         at::empty({batch, queries, heads}, operands.q_nope.options().dtype(wide))};
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t row0 = 0; row0 < queries; row0 += tile) {
      const std::int64_t rows = std::min(tile, queries - row0);
      const at::Tensor q_nope = operands.q_nope[b].narrow(0, row0, rows).to(wide).transpose(0, 1);
      const at::Tensor q_rot = operands.q_rot[b].narrow(0, row0, rows).to(wide);
      const at::Tensor absorbed = at::bmm(q_nope, key_up).transpose(0, 1);  // [rows, H, Rkv]
      const at::Tensor q = at::cat({absorbed, q_rot}, -1);
      const TileResult attended =
          attend_tile(q, keys[b], indices[b].narrow(0, row0, rows), rank, operands.scale);
      const at::Tensor output = at::bmm(attended.latent.transpose(0, 1), value_up).transpose(0, 1);
      result.output[b].narrow(0, row0, rows).copy_(output);
      result.lse[b].narrow(0, row0, rows).copy_(attended.lse);
    }
  }
  if (planted(Fault::kF50OneNan)) {
    result.output.view({-1})[result.output.numel() / 2].fill_(
        std::numeric_limits<double>::quiet_NaN());
  }
  return result;
}

}  // namespace sparity::ops
