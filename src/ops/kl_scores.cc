#include "src/ops/kl_scores.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

/// max(<q[r, h], key>, 0): q [rows, Hi, Di] and keys [C, Di] or [rows, C, Di] → [rows, Hi, C].
at::Tensor clamped_products(const at::Tensor& q, const at::Tensor& keys) {
  at::Tensor dots =
      keys.dim() == 3
          ? at::bmm(q, keys.transpose(1, 2))
          : at::mm(q.reshape({-1, q.size(2)}), keys.t()).view({q.size(0), q.size(1), keys.size(0)});
  return dots.clamp_min_(0);
}

/// Σ_c x[r, h, c] · key[c] → [rows, Hi, Di].
at::Tensor weighted_keys(const at::Tensor& x, const at::Tensor& keys) {
  return keys.dim() == 3
             ? at::bmm(x, keys)
             : at::mm(x.reshape({-1, x.size(2)}), keys).view({x.size(0), x.size(1), keys.size(1)});
}

/// sum[keys[n], :] += rows[n, :] in order of n, where there is a key.
void scatter_keys(const KlTile& tile, const at::Tensor& rows, const at::Tensor& sum) {
  const at::Tensor rows_in = rows.contiguous();
  const at::Tensor selected = tile.selected.contiguous();
  dispatch_wide(rows.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    const std::int64_t width = sum.size(1);
    const auto* key = tile.keys.const_data_ptr<std::int64_t>();
    const bool* is_key = selected.const_data_ptr<bool>();
    const W* row = rows_in.const_data_ptr<W>();
    W* out = sum.mutable_data_ptr<W>();
    for (std::int64_t n = 0; n < tile.keys.numel(); ++n, row += width) {
      W* cell = out + key[n] * width;
      for (std::int64_t i = 0; is_key[n] && i < width; ++i) {
        cell[i] += row[i];
      }
    }
  });
}

}  // namespace

KlScores::KlScores(const IndexOperands& index)
    : index_{index.q.to(index.weights.scalar_type()), index.k.to(index.weights.scalar_type()),
             index.weights} {}

template <typename Body>
void KlScores::for_each_share(const KlTile& tile, Body body) const {
  const at::Tensor all = index_.k[tile.b];
  const std::int64_t columns = tile.open().size(1);
  if (tile.scores_gathered) {
    body(0, columns,
         all.index_select(0, tile.keys.reshape({-1})).view({tile.rows, columns, all.size(1)}));
    return;
  }
  for (std::int64_t column0 = 0; column0 < columns; column0 += kKlKeyTile) {
    const std::int64_t width = std::min(kKlKeyTile, columns - column0);
    if (width == 1 && column0 > 0 && planted(Fault::kF126KlKeyTileOfOneSkipped)) {
      break;
    }
    body(column0, width, all.narrow(0, column0, width));
  }
}

at::Tensor KlScores::scores(const KlTile& tile) const {
  const at::Tensor q = tile.of(index_.q);
  const at::Tensor weights = tile.of(index_.weights).unsqueeze(1);  // [rows, 1, Hi]
  at::Tensor scores = at::empty(tile.open().sizes(), weights.options());
  for_each_share(tile, [&](std::int64_t column0, std::int64_t width, const at::Tensor& keys) {
    scores.narrow(1, column0, width).copy_(at::bmm(weights, clamped_products(q, keys)).squeeze(1));
  });
  return scores.masked_fill_(tile.open().logical_not(), kMinusInfinity);
}

void KlScores::backward(const KlTile& tile, const at::Tensor& g,
                        const KlGradients& gradients) const {
  const at::Tensor q = tile.of(index_.q);
  const at::Tensor weights = tile.of(index_.weights).unsqueeze(-1);  // [rows, Hi, 1]
  at::Tensor d_q = at::zeros(q.sizes(), q.options());
  at::Tensor d_weights = at::zeros(weights.sizes(), q.options());
  for_each_share(tile, [&](std::int64_t column0, std::int64_t width, const at::Tensor& keys) {
    const at::Tensor share = g.narrow(1, column0, width);
    const at::Tensor dots = clamped_products(q, keys);
    d_weights.add_(at::bmm(dots, share.unsqueeze(-1)));
    const at::Tensor d_dots =
        dots.gt(0).to(dots.scalar_type()).mul_(weights).mul_(share.unsqueeze(1));
    d_q.add_(weighted_keys(d_dots, keys));
    if (tile.scores_gathered) {
      scatter_keys(tile, at::bmm(d_dots.transpose(1, 2), q), gradients.k);
    } else {
      gradients.k.narrow(0, column0, width)
          .add_(at::mm(d_dots.view({-1, width}).t(), q.reshape({-1, q.size(2)})));
    }
  });
  if (planted(Fault::kF99LastIndexHeadWithoutGradient)) {
    d_q.select(1, d_q.size(1) - 1).zero_();
    d_weights.select(1, d_weights.size(1) - 1).zero_();
  }
  tile.of(gradients.q).copy_(d_q);
  tile.of(gradients.weights).copy_(d_weights.squeeze(-1));
}

}  // namespace sparity::ops
