#include "src/ops/kl_tiles.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
/// Gathered keys of one tile take about this many numbers: they stay in cache.
constexpr std::int64_t kGatherBudget = 1 << 17;
constexpr std::int64_t kMostRows = 64;
constexpr std::int64_t kDenseRows = 16;
constexpr std::int64_t kKeyTile = 256;

/// <q[r, h], key>: q [rows, heads, n] and keys [C, n] or [rows, C, n] → [rows, heads, C].
at::Tensor products(const at::Tensor& q, const at::Tensor& keys) {
  if (keys.dim() == 3) {
    return at::bmm(q, keys.transpose(1, 2));
  }
  return at::mm(q.reshape({-1, q.size(2)}), keys.t()).view({q.size(0), q.size(1), keys.size(0)});
}

/// Σ_c p[r, h, c] · key[c] → [rows, heads, n].
at::Tensor weighted(const at::Tensor& p, const at::Tensor& keys) {
  if (keys.dim() == 3) {
    return at::bmm(p, keys);
  }
  return at::mm(p.reshape({-1, p.size(2)}), keys).view({p.size(0), p.size(1), keys.size(1)});
}

/// sum[indices[n], :] += rows[n, :] in order of n, where `open`.
void scatter_keys(const at::Tensor& indices, const at::Tensor& open, const at::Tensor& rows,
                  const at::Tensor& sum) {
  const at::Tensor rows_in = rows.contiguous();
  const at::Tensor open_in = open.contiguous();
  dispatch_wide(rows.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    const std::int64_t width = sum.size(1);
    const auto* index = indices.const_data_ptr<std::int64_t>();
    const bool* is_open = open_in.const_data_ptr<bool>();
    const W* row = rows_in.const_data_ptr<W>();
    W* out = sum.mutable_data_ptr<W>();
    for (std::int64_t n = 0; n < indices.numel(); ++n, row += width) {
      W* cell = out + index[n] * width;
      for (std::int64_t i = 0; is_open[n] && i < width; ++i) {
        cell[i] += row[i];
      }
    }
  });
}

}  // namespace

KlLayer::KlLayer(const IndexOperands& index, const KlTeacher& teacher, const KeyMask& mask,
                 const core::KlOptions& options)
    : rule_{options, teacher.operands.q_nope.size(2), teacher.operands.q_nope.scalar_type()},
      mask_(mask),
      teacher_(teacher),
      index_{index.q.to(index.weights.scalar_type()), index.k.to(index.weights.scalar_type()),
             index.weights},
      queries_(index.q.size(1)),
      gathers_(teacher.selected.defined() && options.support == core::KlSupport::kSelected) {
  const AttentionOperands& of = teacher.operands;
  const std::int64_t nope = of.q_nope.size(3);
  key_up_ = of.kv_b_proj.to(wide())
                .view({rule_.heads, nope + of.v_head_dim(), of.kv.size(2)})
                .narrow(1, 0, nope);
  latent_keys_ = at::cat({of.kv, of.k_rot}, -1).to(wide());
  tile_rows_ = gathers_ ? std::clamp<std::int64_t>(
                              kGatherBudget / (teacher.selected.size(2) * latent_keys_.size(2)), 1,
                              kMostRows)
                        : kDenseRows;
}

KlTile KlLayer::tile(std::int64_t b, std::int64_t number) const {
  KlTile tile;
  tile.b = b;
  tile.row0 = number * tile_rows_;
  tile.rows = std::min(tile_rows_, queries_ - tile.row0);
  if (gathers_) {
    const at::Tensor selected = tile.of(teacher_.selected);
    tile.indices = selected.clamp_min(0);
    tile.open = tile.support = selected.ge(0);
    return tile;
  }
  const std::int64_t reachable = std::min(tile.row0 + tile.rows, mask_.tokens());
  tile.open = mask_.rows(tile.row0, tile.row0 + tile.rows)[b].narrow(1, 0, reachable);
  tile.support = tile.open;
  if (teacher_.selected.defined()) {
    const at::Tensor selected = tile.of(teacher_.selected);
    // A column more than there are keys takes what points nowhere.
    const at::Tensor chosen = at::zeros({tile.rows, mask_.tokens() + 1}, tile.open.options());
    chosen.scatter_(1, selected.masked_fill(selected.lt(0), mask_.tokens()), true);
    tile.support = chosen.narrow(1, 0, reachable).logical_and(tile.open);
  }
  return tile;
}

template <typename Body>
void KlLayer::for_each_share(const KlTile& tile, const at::Tensor& all, Body body) const {
  const std::int64_t columns = tile.open.size(1);
  if (gathers_) {
    body(0, columns,
         all.index_select(0, tile.indices.reshape({-1})).view({tile.rows, columns, all.size(1)}));
    return;
  }
  for (std::int64_t column0 = 0; column0 < columns; column0 += kKeyTile) {
    const std::int64_t width = std::min(kKeyTile, columns - column0);
    body(column0, width, all.narrow(0, column0, width));
  }
}

at::Tensor KlLayer::scores(const KlTile& tile) const {
  const at::Tensor q = tile.of(index_.q);
  const at::Tensor weights = tile.of(index_.weights).unsqueeze(1);  // [rows, 1, Hi]
  at::Tensor scores = at::empty(tile.open.sizes(), index_.weights.options());
  for_each_share(tile, index_.k[tile.b],
                 [&](std::int64_t column0, std::int64_t width, const at::Tensor& keys) {
                   const at::Tensor dots = products(q, keys).clamp_min_(0);
                   scores.narrow(1, column0, width).copy_(at::bmm(weights, dots).squeeze(1));
                 });
  return scores.masked_fill_(tile.open.logical_not(), kMinusInfinity);
}

at::Tensor KlLayer::target(const KlTile& tile) const {
  const at::Tensor q_nope = tile.of(teacher_.operands.q_nope).to(wide()).transpose(0, 1);
  const at::Tensor absorbed = at::bmm(q_nope, key_up_).transpose(0, 1);
  const at::Tensor q = at::cat({absorbed, tile.of(teacher_.operands.q_rot).to(wide())}, -1);
  const at::Tensor lse = tile.of(teacher_.lse);
  const at::Tensor shift = lse.masked_fill(lse.isinf(), 0.0).unsqueeze(-1);  // [rows, H, 1]
  const at::Tensor outside = tile.support.logical_not();
  at::Tensor heads = at::empty(tile.open.sizes(), index_.weights.options());
  for_each_share(tile, latent_keys_[tile.b],
                 [&](std::int64_t column0, std::int64_t width, const at::Tensor& keys) {
                   at::Tensor p = products(q, keys).mul_(teacher_.operands.scale);
                   p.masked_fill_(outside.narrow(1, column0, width).unsqueeze(1), kMinusInfinity);
                   if (planted(Fault::kF17TeacherFromPartialLse)) {
                     const at::Tensor half = p.narrow(2, 0, (width + 1) / 2).logsumexp(-1, true);
                     p.sub_(half.masked_fill(half.isinf(), 0.0)).exp_();
                   } else {
                     p.sub_(shift).exp_();
                   }
                   if (rule_.options.precision == core::KlPrecision::kActivation) {
                     p = p.to(rule_.activation).to(wide());
                   }
                   if (planted(Fault::kF12TargetOverHeads)) {
                     p.div_(p.sum(1, true).clamp_min(1e-30));
                   }
                   heads.narrow(1, column0, width).copy_(p.sum(1));
                 });
  to_target(rule_, heads);
  return heads;
}

void KlLayer::backward(const KlTile& tile, const at::Tensor& g,
                       const KlGradients& gradients) const {
  const at::Tensor q = tile.of(index_.q);
  const at::Tensor weights = tile.of(index_.weights).unsqueeze(-1);  // [rows, Hi, 1]
  at::Tensor d_q = at::zeros(q.sizes(), q.options());
  at::Tensor d_weights = at::zeros({tile.rows, q.size(1), 1}, q.options());
  for_each_share(
      tile, index_.k[tile.b],
      [&](std::int64_t column0, std::int64_t width, const at::Tensor& keys) {
        const at::Tensor share = g.narrow(1, column0, width);
        const at::Tensor dots = products(q, keys).clamp_min_(0);
        d_weights.add_(at::bmm(dots, share.unsqueeze(-1)));
        // relu'(0) = 0: a zero of the clamped product passes nothing on.
        const at::Tensor d_dots =
            dots.gt(0).to(dots.scalar_type()).mul_(weights).mul_(share.unsqueeze(1));
        d_q.add_(weighted(d_dots, keys));
        if (gathers_) {
          scatter_keys(tile.indices, tile.open, at::bmm(d_dots.transpose(1, 2), q), gradients.k);
        } else {
          const at::Tensor flat = d_dots.view({-1, width});
          gradients.k.narrow(0, column0, width).add_(at::mm(flat.t(), q.reshape({-1, q.size(2)})));
        }
      });
  tile.of(gradients.q).copy_(d_q);
  tile.of(gradients.weights).copy_(d_weights.squeeze(-1));
}

}  // namespace sparity::ops
