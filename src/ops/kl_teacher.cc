#include "src/ops/kl_teacher.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr std::int64_t kDenseRows = 16;

/// lse of half the keys: what a planted teacher takes for the whole.
at::Tensor partial_lse(const at::Tensor& z, std::int64_t keys) {
  return z.narrow(keys, 0, (z.size(keys) + 1) / 2).logsumexp(keys, true);
}

/// A row's values stand side by side, those of its keys alone; in their columns they leave gaps
/// where a row has no key. packed and selected [rows, K].
at::Tensor in_columns(const at::Tensor& packed, const at::Tensor& selected) {
  at::Tensor columns = at::zeros(packed.sizes(), packed.options());
  const at::Tensor values = packed.contiguous();
  const at::Tensor keys = selected.contiguous();
  dispatch_wide(packed.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    const std::int64_t width = packed.size(1);
    const bool* is_key = keys.const_data_ptr<bool>();
    W* out = columns.mutable_data_ptr<W>();
    for (std::int64_t r = 0; r < packed.size(0); ++r) {
      const W* next = values.const_data_ptr<W>() + r * width;
      for (std::int64_t c = r * width; c < (r + 1) * width; ++c) {
        if (is_key[c]) {
          out[c] = *next++;
        }
      }
    }
  });
  return columns;
}

}  // namespace

KlTargets::KlTargets(const KlTeacher& teacher, const KlRowRule& rule)
    : teacher_(teacher), rule_(rule) {
  if (teacher.selected.defined() && rule.options.target == core::KlTarget::kSelected) {
    teacher_.selected = teacher.selected.contiguous();
    absorbed_.emplace(teacher_.operands, teacher_.selected);
    return;
  }
  const AttentionOperands& of = teacher.operands;
  const at::ScalarType wide = teacher.lse.scalar_type();
  const at::Tensor key_up =
      of.kv_b_proj.to(wide)
          .view({rule_.heads, of.q_nope.size(3) + of.v_head_dim(), of.kv.size(2)})
          .narrow(1, 0, of.q_nope.size(3));
  const at::Tensor nope_keys =
      at::matmul(of.kv.to(wide).unsqueeze(1), key_up.transpose(1, 2));  // [B, H, T, Dn]
  const at::Tensor k_rot = of.k_rot.to(wide).unsqueeze(1).expand({-1, rule_.heads, -1, -1});
  head_keys_ = at::cat({nope_keys, k_rot}, -1);
}

std::int64_t KlTargets::tile_rows() const { return absorbed_ ? absorbed_->tile_rows : kDenseRows; }

at::Tensor KlTargets::sum_of_heads(const at::Tensor& z, const at::Tensor& lse, std::int64_t heads,
                                   std::int64_t keys) const {
  const at::Tensor whole = planted(Fault::kF17TeacherFromPartialLse) ? partial_lse(z, keys) : lse;
  at::Tensor p = z.sub_(whole.masked_fill(whole.isinf(), 0.0)).exp_();
  if (rule_.options.precision == core::KlPrecision::kActivation) {
    p = p.to(rule_.activation).to(lse.scalar_type());
  }
  if (planted(Fault::kF12TargetOverHeads)) {
    p.div_(p.sum(heads, true).clamp_min(1e-30));
  }
  return p.sum(heads);
}

at::Tensor KlTargets::over_selected(const KlTile& tile) const {
  at::Tensor heads;
  dispatch_wide(teacher_.lse.scalar_type(), [&](auto tag) {
    AbsorbedTile<decltype(tag)> pass(*absorbed_);
    pass.move_to(tile.b * absorbed_->tiles() + tile.row0 / absorbed_->tile_rows);
    const at::Tensor pairs = pass.pairs(0);
    pass.dot_keys(pass.q(), absorbed_->channels, kMinusInfinity, pairs);
    const at::Tensor z = pairs.narrow(2, 0, rule_.heads).mul_(teacher_.operands.scale);
    heads = sum_of_heads(z, tile.of(teacher_.lse).unsqueeze(1), /*heads=*/2, /*keys=*/1);
  });
  return in_columns(heads, tile.selected);
}

at::Tensor KlTargets::logits(const KlTile& tile, const at::Tensor& q, std::int64_t key0,
                             std::int64_t width) const {
  const at::Tensor keys = head_keys_[tile.b].narrow(1, key0, width);
  return at::bmm(q, keys.transpose(1, 2))
      .mul_(teacher_.operands.scale)
      .masked_fill_(tile.visible.narrow(1, key0, width).logical_not(), kMinusInfinity);
}

at::Tensor KlTargets::visible_lse(const KlTile& tile, const at::Tensor& q) const {
  if (!teacher_.selected.defined()) {
    return tile.of(teacher_.lse).t();
  }
  const std::int64_t reachable = tile.visible.size(1);
  at::Tensor lse = at::full({q.size(0), q.size(1)}, kMinusInfinity, q.options());
  for (std::int64_t key0 = 0; key0 < reachable; key0 += kKlKeyTile) {
    const std::int64_t width = std::min(kKlKeyTile, reachable - key0);
    lse = at::logaddexp(lse, logits(tile, q, key0, width).logsumexp(-1));
  }
  return lse;
}

at::Tensor KlTargets::over_reachable(const KlTile& tile) const {
  const AttentionOperands& of = teacher_.operands;
  const at::Tensor q = at::cat({tile.of(of.q_nope), tile.of(of.q_rot)}, -1)
                           .to(head_keys_.scalar_type())
                           .transpose(0, 1);  // [H, rows, Dqk]
  const at::Tensor lse = visible_lse(tile, q);
  const std::int64_t reachable = tile.visible.size(1);
  at::Tensor heads = at::zeros(tile.visible.sizes(), q.options());
  for (std::int64_t key0 = 0; key0 < reachable; key0 += kKlKeyTile) {
    const std::int64_t width = std::min(kKlKeyTile, reachable - key0);
    if (width == 1 && key0 > 0 && planted(Fault::kF126KlKeyTileOfOneSkipped)) {
      break;
    }
    heads.narrow(1, key0, width)
        .copy_(sum_of_heads(logits(tile, q, key0, width), lse.unsqueeze(-1), /*heads=*/0,
                            /*keys=*/2));
  }
  return teacher_.selected.defined() ? heads.masked_fill_(tile.support().logical_not(), 0.0)
                                     : heads;
}

at::Tensor KlTargets::target(const KlTile& tile) const {
  const at::Tensor heads = tile.target_gathered ? over_selected(tile) : over_reachable(tile);
  to_target(rule_, heads);
  return heads;
}

}  // namespace sparity::ops
