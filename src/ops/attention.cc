#include "src/ops/attention.h"

#include "src/core/fault.h"
#include "src/ops/parallel.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
/// Gathered keys of one tile take about this many numbers: they stay in cache.
constexpr std::int64_t kGatherBudget = 1 << 17;
constexpr std::int64_t kMostRows = 64;
/// Key gradients are gathered in this many sums, each of its own tiles in order, and the sums added
/// in order: no bit depends on the number of threads.
constexpr std::int64_t kLanes = 8;

/// One layer's attention in f32(A): the latent serves as key and, without its rotated part, as
/// value.
struct Absorbed {
  const AttentionOperands& operands;
  at::ScalarType wide;
  at::Tensor key_up;    // [H, Dn, Rkv]
  at::Tensor value_up;  // [H, Rkv, Dv]
  at::Tensor keys;      // [B, T, Rkv + Dr]
  std::int64_t rank;
  std::int64_t tile_rows;

  Absorbed(const AttentionOperands& of, std::int64_t selected)
      : operands(of), wide(tensors::at_least_f32(of.q_nope.scalar_type())), rank(of.kv.size(2)) {
    const std::int64_t nope = of.q_nope.size(3);
    const std::int64_t values = of.v_head_dim();
    const at::Tensor up = of.kv_b_proj.to(wide).view({of.q_nope.size(2), nope + values, rank});
    key_up = up.narrow(1, 0, nope);
    value_up = up.narrow(1, nope, values).transpose(1, 2);
    keys = at::cat({of.kv, of.k_rot}, -1).to(wide);
    tile_rows = std::clamp<std::int64_t>(kGatherBudget / (selected * keys.size(2)), 1, kMostRows);
  }

  std::int64_t tiles() const { return (operands.q_nope.size(1) + tile_rows - 1) / tile_rows; }
};

/// Some queries of one batch row.
struct Tile {
  std::int64_t b;
  std::int64_t row0;
  std::int64_t rows;

  Tile(const Absorbed& layer, std::int64_t item)
      : b(item / layer.tiles()),
        row0(item % layer.tiles() * layer.tile_rows),
        rows(std::min(layer.tile_rows, layer.operands.q_nope.size(1) - row0)) {}

  /// The tile's rows of x [B, S, …].
  at::Tensor of(const at::Tensor& x) const { return x[b].narrow(0, row0, rows); }
};

/// What both directions need of a tile.
struct TileScores {
  at::Tensor q_nope;    // [H, rows, Dn]
  at::Tensor q;         // [rows, H, Rkv + Dr], absorbed
  at::Tensor gathered;  // [rows, K, Rkv + Dr]
  at::Tensor logits;    // [rows, H, K], −inf = no key
};

TileScores score_tile(const Absorbed& layer, const Tile& tile, const at::Tensor& indices) {
  const AttentionOperands& operands = layer.operands;
  TileScores scores;
  scores.q_nope = tile.of(operands.q_nope).to(layer.wide).transpose(0, 1);
  const at::Tensor absorbed = at::bmm(scores.q_nope, layer.key_up).transpose(0, 1);
  scores.q = at::cat({absorbed, tile.of(operands.q_rot).to(layer.wide)}, -1);
  const at::Tensor chosen = tile.of(indices);
  scores.gathered = layer.keys[tile.b]
                        .index_select(0, chosen.clamp_min(0).reshape({-1}))
                        .view({tile.rows, chosen.size(1), -1});
  scores.logits = at::bmm(scores.q, scores.gathered.transpose(1, 2))
                      .mul_(operands.scale)  // on the product: one rounding, not one per channel
                      .masked_fill_(chosen.lt(0).unsqueeze(1), kMinusInfinity);
  return scores;
}

/// exp(x − max) over the sum, guarded for rows without a key.
struct SoftmaxRows {
  at::Tensor probabilities;  // [rows, H, K]
  at::Tensor lse;            // [rows, H]
};

SoftmaxRows masked_softmax(const at::Tensor& logits) {
  const std::int64_t axis = planted(Fault::kF09SoftmaxOverWrongAxis) ? 1 : -1;
  const at::Tensor largest = logits.amax(axis, true);
  const at::Tensor shift = largest.masked_fill(largest.isinf(), 0.0);
  const at::Tensor weights = logits.sub(shift).exp_();
  const at::Tensor sum = weights.sum(axis, true);
  const at::Tensor probabilities = weights.div(sum.masked_fill(sum.eq(0.0), 1.0));
  if (axis == 1) {
    return {probabilities, logits.logsumexp(std::vector<std::int64_t>{-1})};
  }
  return {probabilities, sum.log().add(shift).squeeze(-1)};
}

AttentionResult attend(const AttentionOperands& operands, const at::Tensor& indices) {
  const Absorbed layer(operands, indices.size(2));
  const at::Tensor& q = operands.q_nope;
  AttentionResult result{
      at::empty({q.size(0), q.size(1), q.size(2), operands.v_head_dim()}, q.options()),
      at::empty({q.size(0), q.size(1), q.size(2)}, q.options().dtype(layer.wide))};
  for_each_item(q.size(0) * layer.tiles(), [&](std::int64_t item) {
    const Tile tile(layer, item);
    const TileScores scores = score_tile(layer, tile, indices);
    const SoftmaxRows softmax = masked_softmax(scores.logits);
    const at::Tensor latent =
        at::bmm(softmax.probabilities, scores.gathered.narrow(-1, 0, layer.rank));
    const at::Tensor output = at::bmm(latent.transpose(0, 1), layer.value_up).transpose(0, 1);
    tile.of(result.output).copy_(output);
    tile.of(result.lse).copy_(softmax.lse);
  });
  if (planted(Fault::kF50OneNan)) {
    result.output.view({-1})[result.output.numel() / 2].fill_(
        std::numeric_limits<double>::quiet_NaN());
  }
  return result;
}

/// What one lane adds up.
struct LaneSums {
  at::Tensor keys;      // [T, Rkv + Dr] of one batch row
  at::Tensor key_up;    // [H, Dn, Rkv]
  at::Tensor value_up;  // [H, Rkv, Dv]
};

/// sum[indices[n], :] += rows[n, :] in order of n; −1 goes nowhere.
template <typename W>
void scatter(const at::Tensor& indices, const at::Tensor& rows, const at::Tensor& sum) {
  const std::int64_t width = sum.size(1);
  const std::int64_t late = planted(Fault::kF78KeyGradientOnePlaceLate) ? 1 : 0;
  const auto* index = indices.const_data_ptr<std::int64_t>();
  const W* row = rows.const_data_ptr<W>();
  W* out = sum.mutable_data_ptr<W>();
  for (std::int64_t n = 0; n < indices.numel(); ++n, row += width) {
    if (index[n] < 0) {
      continue;
    }
    W* cell = out + std::min(index[n] + late, sum.size(0) - 1) * width;
    for (std::int64_t i = 0; i < width; ++i) {
      cell[i] += row[i];
    }
  }
}

struct AttentionGradients {
  at::Tensor q_nope;  // as the operands, in A
  at::Tensor q_rot;
};

/// With dO the output's gradient and P = exp(logits − lse): dlatent = dO · V, dP = dlatent · kvᵀ,
/// dS = P · (dP − Σ_k P · dP) · scale; dq = dS · keys; dkeys = dSᵀ · q + Pᵀ · dlatent.
void tile_backward(const Absorbed& layer, const Tile& tile, const at::Tensor& indices,
                   const at::Tensor& lse, const at::Tensor& d_output, LaneSums& sums,
                   AttentionGradients& gradients) {
  const TileScores scores = score_tile(layer, tile, indices);
  at::Tensor shift = tile.of(lse);
  if (planted(Fault::kF77LseOfTheRowBefore)) {
    shift = shift.roll(1, 0);
  }
  const at::Tensor finite = shift.masked_fill(shift.isinf(), 0.0).unsqueeze(-1);
  const at::Tensor probabilities = scores.logits.sub(finite).exp_();
  const at::Tensor values = scores.gathered.narrow(-1, 0, layer.rank);
  const at::Tensor back = tile.of(d_output).to(layer.wide).transpose(0, 1);  // [H, rows, Dv]
  const at::Tensor latent = at::bmm(probabilities, values);
  sums.value_up.add_(at::bmm(latent.permute({1, 2, 0}), back));
  const at::Tensor d_latent = at::bmm(back, layer.value_up.transpose(1, 2)).transpose(0, 1);
  at::Tensor d_logits = at::bmm(d_latent, values.transpose(1, 2));
  if (!planted(Fault::kF71NoDeltaInAttentionBackward)) {
    d_logits.sub_(d_logits.mul(probabilities).sum(-1, true));
  }
  d_logits.mul_(probabilities).mul_(layer.operands.scale);

  at::Tensor d_q = at::bmm(d_logits, scores.gathered);
  if (planted(Fault::kF73QueryGradientUnscaled)) {
    d_q.div_(layer.operands.scale);
  }
  const at::Tensor d_absorbed = d_q.narrow(-1, 0, layer.rank).transpose(0, 1);  // [H, rows, Rkv]
  tile.of(gradients.q_rot).copy_(d_q.narrow(-1, layer.rank, d_q.size(2) - layer.rank));
  tile.of(gradients.q_nope)
      .copy_(at::bmm(d_absorbed, layer.key_up.transpose(1, 2)).transpose(0, 1));
  sums.key_up.add_(at::bmm(scores.q_nope.transpose(1, 2), d_absorbed));

  const at::Tensor d_keys = at::bmm(d_logits.transpose(1, 2), scores.q);
  d_keys.narrow(-1, 0, layer.rank).add_(at::bmm(probabilities.transpose(1, 2), d_latent));
  const at::Tensor chosen = tile.of(indices).contiguous();
  const int times = planted(Fault::kF76FirstTileCountedTwice) && tile.row0 == 0 ? 2 : 1;
  for (int i = 0; i < times; ++i) {
    layer.wide == at::kDouble ? scatter<double>(chosen, d_keys, sums.keys)
                              : scatter<float>(chosen, d_keys, sums.keys);
  }
}

/// Adds up one tensor of every lane, in order.
at::Tensor total(const std::vector<LaneSums>& lanes, at::Tensor LaneSums::*part) {
  at::Tensor sum = (lanes[0].*part).clone();
  for (std::size_t lane = 1; lane < lanes.size(); ++lane) {
    sum.add_(lanes[lane].*part);
  }
  return sum;
}

struct SparseAttention : torch::autograd::Function<SparseAttention> {
  static variable_list forward(AutogradContext* context, const at::Tensor& q_nope,
                               const at::Tensor& q_rot, const at::Tensor& kv,
                               const at::Tensor& k_rot, const at::Tensor& kv_b_proj, double scale,
                               const at::Tensor& indices) {
    const AttentionResult result = attend({q_nope, q_rot, kv, k_rot, kv_b_proj, scale}, indices);
    context->save_for_backward({q_nope, q_rot, kv, k_rot, kv_b_proj, indices, result.lse});
    context->saved_data["scale"] = scale;
    context->mark_non_differentiable({result.lse});
    return {result.output, result.lse};
  }

  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    const variable_list saved = context->get_saved_variables();
    const AttentionOperands operands{saved[0], saved[1], saved[2],
                                     saved[3], saved[4], context->saved_data["scale"].toDouble()};
    const at::Tensor& indices = saved[5];
    const Absorbed layer(operands, indices.size(2));
    AttentionGradients gradients{at::empty(operands.q_nope.sizes(), operands.q_nope.options()),
                                 at::empty(operands.q_rot.sizes(), operands.q_rot.options())};
    at::Tensor keys = at::empty(layer.keys.sizes(), layer.keys.options());
    at::Tensor key_up = at::zeros(layer.key_up.sizes(), layer.keys.options());
    at::Tensor value_up = at::zeros(layer.value_up.sizes(), layer.keys.options());
    for (std::int64_t b = 0; b < keys.size(0); ++b) {
      const std::int64_t used = std::min(kLanes, layer.tiles());
      std::vector<LaneSums> lanes(static_cast<std::size_t>(used));
      for_each_item(used, [&](std::int64_t lane) {
        LaneSums& sums = lanes[static_cast<std::size_t>(lane)];
        sums = {at::zeros({keys.size(1), keys.size(2)}, keys.options()),
                at::zeros(key_up.sizes(), keys.options()),
                at::zeros(value_up.sizes(), keys.options())};
        for (std::int64_t t = lane; t < layer.tiles(); t += kLanes) {
          tile_backward(layer, Tile(layer, b * layer.tiles() + t), indices, saved[6], arrived[0],
                        sums, gradients);
        }
      });
      keys[b].copy_(total(lanes, &LaneSums::keys));
      key_up.add_(total(lanes, &LaneSums::key_up));
      value_up.add_(total(lanes, &LaneSums::value_up));
    }
    const at::ScalarType activation = operands.q_nope.scalar_type();
    const at::Tensor up = at::cat({key_up, value_up.transpose(1, 2)}, 1);
    return {gradients.q_nope,
            gradients.q_rot,
            keys.narrow(-1, 0, layer.rank).to(activation),
            keys.narrow(-1, layer.rank, keys.size(2) - layer.rank).to(activation),
            up.reshape(operands.kv_b_proj.sizes()).to(operands.kv_b_proj.scalar_type()),
            at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

AttentionResult sparse_attention(const AttentionOperands& operands, const at::Tensor& indices) {
  const variable_list result =
      SparseAttention::apply(operands.q_nope, operands.q_rot, operands.kv, operands.k_rot,
                             operands.kv_b_proj, operands.scale, indices);
  return {result[0], result[1]};
}

}  // namespace sparity::ops
