#include "src/core/fault.h"
#include "src/ops/attention.h"
#include "src/ops/parallel.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr std::int64_t kQueryTile = 64;
constexpr std::int64_t kKeyTile = 256;

/// One layer's attention in f32(A), with every head's keys and values formed.
struct Expanded {
  at::Tensor up;  // [H, Dn + Dv, Rkv]
  at::Tensor q;   // [B, H, S, Dqk]
  at::Tensor k;   // [B, H, T, Dqk]
  at::Tensor v;   // [B, H, T, Dv]
  double scale;

  explicit Expanded(const AttentionOperands& operands) : scale(scale_of(operands)) {
    const at::ScalarType wide = tensors::at_least_f32(operands.q_nope.scalar_type());
    const std::int64_t heads = operands.q_nope.size(2);
    const std::int64_t nope = operands.q_nope.size(3);
    const std::int64_t values = operands.v_head_dim();
    up = operands.kv_b_proj.to(wide).view({heads, nope + values, -1});
    const at::Tensor both =
        at::matmul(operands.kv.to(wide).unsqueeze(1), up.transpose(1, 2));  // [B, H, T, Dn + Dv]
    const at::Tensor k_rot = operands.k_rot.to(wide).unsqueeze(1).expand({-1, heads, -1, -1});
    q = at::cat({operands.q_nope, operands.q_rot}, -1).to(wide).transpose(1, 2).contiguous();
    k = at::cat({both.narrow(3, 0, nope), k_rot}, -1);
    v = both.narrow(3, nope, values).contiguous();
  }

  std::int64_t heads() const { return q.size(1); }
};

/// Some queries of one batch row, and the keys that one of them may see.
struct Rows {
  std::int64_t row0;
  std::int64_t count;
  std::int64_t reachable;
  at::Tensor hidden;  // Bool [rows, reachable]

  Rows(const KeyMask& mask, std::int64_t b, std::int64_t first)
      : row0(first),
        count(std::min(kQueryTile, mask.tokens() - first)),
        reachable(std::min(first + count + 1, mask.tokens())),
        hidden(at::empty({count, reachable}, at::kBool)) {
    for (std::int64_t r = 0; r < count; ++r) {
      mask.row(b, first + r, reachable, hidden.mutable_data_ptr<bool>() + r * reachable);
    }
    hidden.logical_not_();
  }
};

/// scale · q · kᵀ of some queries and keys [key0, key0 + width), −inf where hidden.
at::Tensor score(const at::Tensor& q, const at::Tensor& k, const at::Tensor& hidden,
                 std::int64_t key0, std::int64_t width, double scale) {
  const at::Tensor logits = at::mm(q, k.narrow(0, key0, width).t())
                                .mul_(scale);  // on the product: one rounding, not one per channel
  if (planted(Fault::kF114BoolMaskAdded)) {
    return logits.add_(hidden.narrow(1, key0, width).logical_not());
  }
  return logits.masked_fill_(hidden.narrow(1, key0, width), kMinusInfinity);
}

/// The softmax of rows whose keys arrive tile by tile.
class OnlineSoftmax {
 public:
  OnlineSoftmax(std::int64_t rows, std::int64_t values, at::TensorOptions options)
      : largest_(at::full({rows, 1}, kMinusInfinity, options)),
        sum_(at::zeros({rows, 1}, options)),
        output_(at::zeros({rows, values}, options)) {}

  /// logits [rows, keys], v [keys, Dv].
  void add(const at::Tensor& logits, const at::Tensor& v) {
    const at::Tensor largest = at::maximum(largest_, logits.amax(-1, true));
    const at::Tensor shift = largest.masked_fill(largest.isinf(), 0.0);
    const at::Tensor rescale = largest_.sub(shift).exp();
    const at::Tensor weights = logits.sub(shift).exp_();
    sum_ = sum_.mul(rescale).add(weights.sum(-1, true));
    output_ = output_.mul(rescale).add(at::mm(weights, v));
    largest_ = largest;
  }

  at::Tensor output() const { return output_.div(sum_.masked_fill(sum_.eq(0.0), 1.0)); }
  at::Tensor lse() const {
    return sum_.log().add(largest_.masked_fill(largest_.isinf(), 0.0)).squeeze(-1);
  }

 private:
  at::Tensor largest_;
  at::Tensor sum_;
  at::Tensor output_;
};

AttentionResult attend(const AttentionOperands& operands, const KeyMask& mask) {
  const Expanded layer(operands);
  const at::Tensor& q = operands.q_nope;
  AttentionResult result{at::empty({q.size(0), q.size(1), q.size(2), layer.v.size(3)}, q.options()),
                         at::empty({q.size(0), q.size(1), q.size(2)}, layer.q.options())};
  const std::int64_t all_heads = q.size(0) * layer.heads();
  const std::int64_t tiles = (q.size(1) + kQueryTile - 1) / kQueryTile;
  // The last queries see most: they come first.
  for_each_item(tiles * all_heads, [&](std::int64_t item) {
    const std::int64_t b = item % all_heads / layer.heads();
    const std::int64_t h = item % layer.heads();
    const Rows rows(mask, b, (tiles - 1 - item / all_heads) * kQueryTile);
    if (planted(Fault::kF122EmptyRowsUniform)) {
      rows.hidden.masked_fill_(rows.hidden.all(-1, true), false);
    }
    const at::Tensor q_rows = layer.q[b][h].narrow(0, rows.row0, rows.count);
    OnlineSoftmax softmax(rows.count, layer.v.size(3), layer.q.options());
    for (std::int64_t key0 = 0; key0 < rows.reachable; key0 += kKeyTile) {
      const std::int64_t width = std::min(kKeyTile, rows.reachable - key0);
      if (width == 1 && key0 > 0 && planted(Fault::kF124KeyTileOfOneSkipped)) {
        break;
      }
      softmax.add(score(q_rows, layer.k[b][h], rows.hidden, key0, width, layer.scale),
                  layer.v[b][h].narrow(0, key0, width));
    }
    result.output[b].narrow(0, rows.row0, rows.count).select(1, h).copy_(softmax.output());
    result.lse[b].narrow(0, rows.row0, rows.count).select(1, h).copy_(softmax.lse());
  });
  return result;
}

/// Gradients of the expanded form.
struct ExpandedGradients {
  at::Tensor q;
  at::Tensor k;
  at::Tensor v;
};

/// Some queries of one head: P = exp(logits − lse) tile by tile, dP = dO · vᵀ,
/// dS = P · (dP − delta) · scale with delta = Σ P · dP = <dO, O>; dq += dS · k, dk += dSᵀ · q,
/// dv += Pᵀ · dO.
void rows_backward(const Expanded& layer, const Rows& rows, std::int64_t b, std::int64_t h,
                   const at::Tensor& lse, const at::Tensor& back, const at::Tensor& delta,
                   ExpandedGradients& gradients) {
  const at::Tensor q = layer.q[b][h].narrow(0, rows.row0, rows.count);
  const at::Tensor shift = lse.masked_fill(lse.isinf(), 0.0).unsqueeze(-1);
  const at::Tensor d_q = gradients.q[b][h].narrow(0, rows.row0, rows.count);
  for (std::int64_t key0 = 0; key0 < rows.reachable; key0 += kKeyTile) {
    const std::int64_t width = std::min(kKeyTile, rows.reachable - key0);
    const bool single = width == 1 && key0 > 0 && planted(Fault::kF125KeyTileOfOneWithoutGradient);
    if (single ||
        (planted(Fault::kF75LastKeyTileWithoutGradient) && key0 + width == rows.reachable)) {
      break;
    }
    const at::Tensor k = layer.k[b][h].narrow(0, key0, width);
    const at::Tensor v = layer.v[b][h].narrow(0, key0, width);
    const at::Tensor probabilities =
        score(q, layer.k[b][h], rows.hidden, key0, width, layer.scale).sub_(shift).exp_();
    gradients.v[b][h].narrow(0, key0, width).add_(at::mm(probabilities.t(), back));
    const at::Tensor d_logits =
        at::mm(back, v.t()).sub_(delta).mul_(probabilities).mul_(layer.scale);
    d_q.add_(at::mm(d_logits, k));
    gradients.k[b][h].narrow(0, key0, width).add_(at::mm(d_logits.t(), q));
  }
}

ExpandedGradients expanded_backward(const Expanded& layer, const KeyMask& mask,
                                    const at::Tensor& lse, const at::Tensor& output,
                                    const at::Tensor& d_output) {
  ExpandedGradients gradients{at::zeros_like(layer.q), at::zeros_like(layer.k),
                              at::zeros_like(layer.v)};
  // One head is one item: its tiles add to the same keys, in order.
  for_each_item(layer.q.size(0) * layer.heads(), [&](std::int64_t item) {
    const std::int64_t b = item / layer.heads();
    const std::int64_t h = item % layer.heads();
    for (std::int64_t row0 = 0; row0 < layer.q.size(2); row0 += kQueryTile) {
      const Rows rows(mask, b, row0);
      const auto of = [&](const at::Tensor& x) {
        return x[b].narrow(0, row0, rows.count).select(1, h).to(layer.q.scalar_type());
      };
      const at::Tensor back = of(d_output);
      const at::Tensor delta = back.mul(of(output)).sum(-1, true);
      rows_backward(layer, rows, b, h, of(lse), back, delta, gradients);
    }
  });
  return gradients;
}

struct DenseAttention : torch::autograd::Function<DenseAttention> {
  static variable_list forward(AutogradContext* context, const at::Tensor& q_nope,
                               const at::Tensor& q_rot, const at::Tensor& kv,
                               const at::Tensor& k_rot, const at::Tensor& kv_b_proj, double scale,
                               const at::Tensor& token_mask,
                               const std::optional<at::Tensor>& pair_mask) {
    const at::Tensor pairs = pair_mask.value_or(at::Tensor());
    const AttentionResult result =
        attend({q_nope, q_rot, kv, k_rot, kv_b_proj, scale}, KeyMask(token_mask, pairs));
    context->save_for_backward(
        {q_nope, q_rot, kv, k_rot, kv_b_proj, token_mask, pairs, result.output, result.lse});
    context->saved_data["scale"] = scale;
    context->mark_non_differentiable({result.lse});
    return {result.output, result.lse};
  }

  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    const variable_list saved = context->get_saved_variables();
    const AttentionOperands operands{saved[0], saved[1], saved[2],
                                     saved[3], saved[4], context->saved_data["scale"].toDouble()};
    const Expanded layer(operands);
    const ExpandedGradients found =
        expanded_backward(layer, KeyMask(saved[5], saved[6]), saved[8], saved[7], arrived[0]);
    const std::int64_t nope = operands.q_nope.size(3);
    const std::int64_t rope = operands.q_rot.size(3);
    const at::ScalarType activation = operands.q_nope.scalar_type();
    const at::Tensor d_q = found.q.transpose(1, 2).to(activation);
    const at::Tensor d_both =
        at::cat({found.k.narrow(3, 0, nope), found.v}, 3);  // [B, H, T, Dn+Dv]
    const at::Tensor d_kv = at::matmul(d_both, layer.up).sum(1);
    const at::Tensor kv = operands.kv.to(layer.q.scalar_type()).unsqueeze(1);
    const at::Tensor d_up = at::matmul(d_both.transpose(2, 3), kv).sum(0);
    return {d_q.narrow(3, 0, nope),
            d_q.narrow(3, nope, rope),
            d_kv.to(activation),
            found.k.narrow(3, nope, rope).sum(1).to(activation),
            d_up.reshape(operands.kv_b_proj.sizes()).to(operands.kv_b_proj.scalar_type()),
            at::Tensor(),
            at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

AttentionResult dense_attention(const AttentionOperands& operands, const KeyMask& mask) {
  const std::optional<at::Tensor> pairs =
      mask.pair_mask().defined() ? std::optional(mask.pair_mask()) : std::nullopt;
  const variable_list result =
      DenseAttention::apply(operands.q_nope, operands.q_rot, operands.kv, operands.k_rot,
                            operands.kv_b_proj, operands.scale, mask.token_mask(), pairs);
  return {result[0], result[1]};
}

}  // namespace sparity::ops
