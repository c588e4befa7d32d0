#include "src/ops/kl_teacher.h"

#include "src/core/fault.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
#include <limits>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

/// lse of half the keys: what a planted teacher takes for the whole.
at::Tensor partial_lse(const at::Tensor& z) {
  return z.narrow(2, 0, (z.size(2) + 1) / 2).logsumexp(-1, true);
}

}  // namespace

KlTargets::KlTargets(const KlTeacher& teacher, const KlRowRule& rule)
    : teacher_(teacher), rule_(rule) {
  const AttentionOperands& of = teacher.operands;
  const at::ScalarType wide = teacher.lse.scalar_type();
  const std::int64_t nope = of.q_nope.size(3);
  key_up_ = of.kv_b_proj.to(wide)
                .view({rule_.heads, nope + of.v_head_dim(), of.kv.size(2)})
                .narrow(1, 0, nope);
  if (teacher.selected.defined() && rule.options.target == core::KlTarget::kSelected) {
    latent_keys_ = at::cat({of.kv, of.k_rot}, -1).to(wide);
    return;
  }
  const at::Tensor nope_keys =
      at::matmul(of.kv.to(wide).unsqueeze(1), key_up_.transpose(1, 2));  // [B, H, T, Dn]
  const at::Tensor k_rot = of.k_rot.to(wide).unsqueeze(1).expand({-1, rule_.heads, -1, -1});
  head_keys_ = at::cat({nope_keys, k_rot}, -1);
}

at::Tensor KlTargets::probabilities(at::Tensor z, const at::Tensor& lse, std::int64_t heads) const {
  const at::Tensor whole =
      planted(Fault::kF17TeacherFromPartialLse) ? partial_lse(z) : lse.unsqueeze(-1);
  at::Tensor p = z.sub_(whole.masked_fill(whole.isinf(), 0.0)).exp_();
  if (rule_.options.precision == core::KlPrecision::kActivation) {
    p = p.to(rule_.activation).to(lse.scalar_type());
  }
  if (planted(Fault::kF12TargetOverHeads)) {
    p.div_(p.sum(heads, true).clamp_min(1e-30));
  }
  return p;
}

at::Tensor KlTargets::over_selected(const KlTile& tile) const {
  const AttentionOperands& of = teacher_.operands;
  const at::Tensor q_nope = tile.of(of.q_nope).to(key_up_.scalar_type()).transpose(0, 1);
  const at::Tensor absorbed = at::bmm(q_nope, key_up_).transpose(0, 1);
  const at::Tensor q = at::cat({absorbed, tile.of(of.q_rot).to(key_up_.scalar_type())}, -1);
  const at::Tensor gathered = latent_keys_[tile.b]
                                  .index_select(0, tile.keys.reshape({-1}))
                                  .view({tile.rows, tile.keys.size(1), -1});
  at::Tensor z = at::bmm(q, gathered.transpose(1, 2))
                     .mul_(of.scale)
                     .masked_fill_(tile.selected.logical_not().unsqueeze(1), kMinusInfinity);
  return probabilities(std::move(z), tile.of(teacher_.lse), 1).sum(1);
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
  at::Tensor heads = at::empty(tile.visible.sizes(), q.options());
  for (std::int64_t key0 = 0; key0 < reachable; key0 += kKlKeyTile) {
    const std::int64_t width = std::min(kKlKeyTile, reachable - key0);
    heads.narrow(1, key0, width).copy_(probabilities(logits(tile, q, key0, width), lse, 0).sum(0));
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
