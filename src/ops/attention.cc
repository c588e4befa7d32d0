#include "src/ops/attention.h"

#include "src/core/fault.h"
#include "src/ops/absorbed_tile.h"
#include "src/ops/column_softmax.h"
#include "src/ops/dispatch.h"
#include "src/ops/parallel.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
/// Key gradients are gathered in this many sums, each of its own tiles in order, and the sums added
/// in order: no bit depends on the number of threads.
constexpr std::int64_t kLanes = 8;

/// Calls `body(row r's columns, r)` for every row of pairs [rows, K, padded H].
template <typename W, typename Body>
void for_each_row(const at::Tensor& pairs, Body body) {
  const std::int64_t size = pairs.size(1) * pairs.size(2);
  for (std::int64_t r = 0; r < pairs.size(0); ++r) {
    body(ColumnSoftmax<W>{pairs.mutable_data_ptr<W>() + r * size, pairs.size(1), pairs.size(2)}, r);
  }
}

/// F09: the softmax runs over heads.
void softmax_over_heads(const at::Tensor& logits) {
  const at::Tensor largest = logits.amax(2, true);
  logits.sub_(largest.masked_fill(largest.isinf(), 0.0)).exp_();
  const at::Tensor sum = logits.sum(2, true);
  logits.div_(sum.masked_fill(sum.eq(0.0), 1.0));
}

/// Probabilities in the place of products [rows, K, padded H] of queries and keys, −inf = no key,
/// whose log-sum-exp goes to lse [rows, padded H].
template <typename W>
void softmax(const at::Tensor& pairs, double scale, std::int64_t heads, const at::Tensor& lse) {
  const bool over_heads = planted(Fault::kF09SoftmaxOverWrongAxis);
  const at::Tensor wrong = over_heads ? pairs.mul(scale).narrow(2, 0, heads) : at::Tensor();
  const at::Tensor shift = at::empty(lse.sizes(), lse.options());
  W* largest = shift.mutable_data_ptr<W>();
  W* sum = lse.mutable_data_ptr<W>();
  const std::int64_t columns = pairs.size(2);
  if (planted(Fault::kF120LogitsInActivation)) {
    pairs.copy_(pairs.mul(scale).to(at::kBFloat16)).div_(scale);
  }
  for_each_row<W>(pairs, [&](const ColumnSoftmax<W>& of, std::int64_t r) {
    // On the product: one rounding, not one per channel.
    of.scale_and_find_shift(static_cast<W>(scale), largest + r * columns);
    of.subtract(largest + r * columns);
  });
  pairs.exp_();
  for_each_row<W>(
      pairs, [&](const ColumnSoftmax<W>& of, std::int64_t r) { of.normalise(sum + r * columns); });
  lse.log_().add_(shift);
  if (over_heads) {
    softmax_over_heads(wrong);
    pairs.narrow(2, 0, heads).copy_(wrong);
  }
}

template <typename W>
void attend_tile(const Absorbed& layer, AbsorbedTile<W>& tile, AttentionResult& result) {
  const at::Tensor pairs = tile.pairs(0);
  tile.dot_keys(tile.q(), layer.channels, kMinusInfinity, pairs);
  const at::Tensor lse = at::empty({tile.rows(), tile.padded_heads()}, pairs.options());
  softmax<W>(pairs, scale_of(layer.operands), layer.heads(), lse);
  const at::Tensor latent = tile.sum_keys(pairs, layer.value_up.size(2));
  tile.of(result.output).copy_(at::bmm(latent, layer.value_up.transpose(1, 2)).transpose(0, 1));
  tile.of(result.lse).copy_(lse.narrow(1, 0, layer.heads()));
}

AttentionResult attend(const AttentionOperands& operands, const at::Tensor& indices) {
  const Absorbed layer(operands, indices);
  const at::Tensor& q = operands.q_nope;
  AttentionResult result{
      at::empty({q.size(0), q.size(1), q.size(2), operands.v_head_dim()}, q.options()),
      at::empty({q.size(0), q.size(1), q.size(2)}, q.options().dtype(layer.wide))};
  dispatch_wide(layer.wide, [&](auto tag) {
    using W = decltype(tag);
    for_each_item(
        q.size(0) * layer.tiles(), [&] { return AbsorbedTile<W>(layer); },
        [&](AbsorbedTile<W>& tile, std::int64_t item) {
          tile.move_to(item);
          attend_tile(layer, tile, result);
        });
  });
  if (planted(Fault::kF50OneNan)) {
    result.output.view({-1})[result.output.numel() / 2].fill_(
        std::numeric_limits<double>::quiet_NaN());
  }
  return result;
}

/// What one lane adds up.
struct LaneSums {
  at::Tensor keys;      // [T, padded channels] of one batch row
  at::Tensor key_up;    // [H, Dn, padded Rkv]
  at::Tensor value_up;  // [H, Dv, padded Rkv]

  explicit LaneSums(const Absorbed& layer)
      : keys(at::zeros({layer.keys.size(1), layer.keys.size(2)}, layer.keys.options())),
        key_up(at::zeros(layer.key_up.sizes(), layer.keys.options())),
        value_up(at::zeros(layer.value_up.sizes(), layer.keys.options())) {}

  void add(const LaneSums& other) {
    keys.add_(other.keys);
    key_up.add_(other.key_up);
    value_up.add_(other.value_up);
  }
};

struct AttentionGradients {
  at::Tensor q_nope;  // as the operands, in A
  at::Tensor q_rot;
};

/// P = exp(scale · products − lse), in their place.
template <typename W>
void probabilities(const AbsorbedTile<W>& tile, double scale, const at::Tensor& lse,
                   const at::Tensor& pairs) {
  at::Tensor rows = tile.of(lse);
  if (planted(Fault::kF77LseOfTheRowBefore)) {
    rows = rows.roll(1, 0);
  }
  const at::Tensor shift = at::zeros({tile.rows(), tile.padded_heads()}, pairs.options());
  shift.narrow(1, 0, rows.size(1)).copy_(rows.masked_fill(rows.isinf(), 0.0));
  const W* of_row = shift.const_data_ptr<W>();
  for_each_row<W>(pairs, [&](const ColumnSoftmax<W>& of, std::int64_t r) {
    of.scale_by(static_cast<W>(scale));
    of.subtract(of_row + r * pairs.size(2));
  });
  pairs.exp_();
}

/// With dO the output's gradient and P = exp(logits − lse): dlatent = dO · V, dP = dlatent · kvᵀ,
/// dS = P · (dP − Σ_k P · dP) · scale; dq = dS · keys; dkeys = dSᵀ · q + Pᵀ · dlatent.
template <typename W>
void tile_backward(const Absorbed& layer, AbsorbedTile<W>& tile, const at::Tensor& lse,
                   const at::Tensor& d_output, LaneSums& sums, AttentionGradients& gradients) {
  const double scale = layer.operands.scale;
  const at::Tensor p = tile.pairs(0);
  tile.dot_keys(tile.q(), layer.channels, kMinusInfinity, p);
  probabilities(tile, scale, lse, p);
  const at::Tensor back = tile.of(d_output).to(layer.wide).transpose(0, 1);  // [H, rows, Dv]
  const at::Tensor latent = tile.sum_keys(p, layer.value_up.size(2));
  sums.value_up.baddbmm_(back.transpose(1, 2), latent);

  const at::Tensor d_latent = at::bmm(back, layer.value_up);  // [H, rows, padded Rkv]
  const at::Tensor d_logits = tile.pairs(1);
  tile.dot_keys(d_latent, layer.rank, 0.0, d_logits);
  const W delta = planted(Fault::kF71NoDeltaInAttentionBackward) ? W(0) : W(1);
  const W* weight = p.const_data_ptr<W>();
  for_each_row<W>(d_logits, [&](const ColumnSoftmax<W>& of, std::int64_t r) {
    of.backward(weight + r * p.stride(0), static_cast<W>(scale), delta);
  });

  const at::Tensor d_q = tile.sum_keys(d_logits, layer.keys.size(2));
  if (planted(Fault::kF73QueryGradientUnscaled)) {
    d_q.div_(scale);
  }
  const at::Tensor d_absorbed = d_q.narrow(2, 0, layer.rank);
  const at::Tensor d_rot = d_q.narrow(2, layer.rank, layer.channels - layer.rank);
  tile.of(gradients.q_rot).copy_(d_rot.transpose(0, 1));
  const at::Tensor key_up = layer.key_up.narrow(2, 0, layer.rank);
  tile.of(gradients.q_nope).copy_(at::bmm(d_absorbed, key_up.transpose(1, 2)).transpose(0, 1));
  sums.key_up.narrow(2, 0, layer.rank).baddbmm_(tile.q_nope().transpose(1, 2), d_absorbed);

  const int times = planted(Fault::kF76FirstTileCountedTwice) && tile.row0() == 0 ? 2 : 1;
  for (int i = 0; i < times; ++i) {
    tile.add_to_keys(d_logits, tile.q(), sums.keys);
    tile.add_to_keys(p, d_latent, sums.keys);
  }
}

/// The sums of one batch row, its tiles spread over lanes.
template <typename W>
LaneSums row_backward(const Absorbed& layer, std::int64_t b, const at::Tensor& lse,
                      const at::Tensor& d_output, AttentionGradients& gradients) {
  std::vector<std::optional<LaneSums>> lanes(
      static_cast<std::size_t>(std::min(kLanes, layer.tiles())));
  for_each_item(
      std::ssize(lanes), [&] { return AbsorbedTile<W>(layer); },
      [&](AbsorbedTile<W>& tile, std::int64_t lane) {
        LaneSums& sums = lanes[static_cast<std::size_t>(lane)].emplace(layer);
        for (std::int64_t t = lane; t < layer.tiles(); t += kLanes) {
          tile.move_to(b * layer.tiles() + t);
          tile_backward(layer, tile, lse, d_output, sums, gradients);
          if (planted(Fault::kF129KeyGradientsInBf16)) {
            sums.keys.copy_(sums.keys.to(at::kBFloat16));
          }
        }
      });
  for (std::size_t lane = 1; lane < lanes.size(); ++lane) {
    lanes[0]->add(*lanes[lane]);
  }
  return *lanes[0];
}

struct SparseAttention : torch::autograd::Function<SparseAttention> {
  static variable_list forward(AutogradContext* context, const at::Tensor& q_nope,
                               const at::Tensor& q_rot, const at::Tensor& kv,
                               const at::Tensor& k_rot, const at::Tensor& kv_b_proj, double scale,
                               const at::Tensor& indices) {
    const AttentionResult result =
        attend({q_nope, q_rot, kv, k_rot, kv_b_proj, scale}, indices.contiguous());
    context->save_for_backward(
        {q_nope, q_rot, kv, k_rot, kv_b_proj, indices.contiguous(), result.lse});
    context->saved_data["scale"] = scale;
    context->mark_non_differentiable({result.lse});
    return {result.output, result.lse};
  }

  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    const variable_list saved = context->get_saved_variables();
    const AttentionOperands operands{saved[0], saved[1], saved[2],
                                     saved[3], saved[4], context->saved_data["scale"].toDouble()};
    const Absorbed layer(operands, saved[5]);
    AttentionGradients gradients{at::empty(operands.q_nope.sizes(), operands.q_nope.options()),
                                 at::empty(operands.q_rot.sizes(), operands.q_rot.options())};
    at::Tensor keys = at::empty(layer.keys.sizes(), layer.keys.options());
    at::Tensor up = at::zeros(
        {layer.heads(), layer.key_up.size(1) + layer.value_up.size(1), layer.key_up.size(2)},
        layer.keys.options());
    for (std::int64_t b = 0; b < keys.size(0); ++b) {
      const LaneSums sums = dispatch_wide(layer.wide, [&](auto tag) {
        return row_backward<decltype(tag)>(layer, b, saved[6], arrived[0], gradients);
      });
      keys[b].copy_(sums.keys);
      up.add_(at::cat({sums.key_up, sums.value_up}, 1));
    }
    const at::ScalarType activation = operands.q_nope.scalar_type();
    return {gradients.q_nope,
            gradients.q_rot,
            keys.narrow(2, 0, layer.rank).to(activation),
            keys.narrow(2, layer.rank, layer.channels - layer.rank).to(activation),
            up.narrow(2, 0, layer.rank)
                .reshape(operands.kv_b_proj.sizes())
                .to(operands.kv_b_proj.scalar_type()),
            at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

double scale_of(const AttentionOperands& operands) {
  const bool high = operands.q_nope.size(2) >= 8 && planted(Fault::kF123ScaleHighOfManyHeads);
  return high ? 1.01 * operands.scale : operands.scale;
}

AttentionResult sparse_attention(const AttentionOperands& operands, const at::Tensor& indices) {
  const variable_list result =
      SparseAttention::apply(operands.q_nope, operands.q_rot, operands.kv, operands.k_rot,
                             operands.kv_b_proj, operands.scale, indices);
  return {result[0], result[1]};
}

}  // namespace sparity::ops
