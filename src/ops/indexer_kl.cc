#include "src/ops/indexer_kl.h"

#include "src/core/error.h"
#include "src/ops/kl_rows.h"
#include "src/ops/kl_scores.h"
#include "src/ops/kl_teacher.h"
#include "src/ops/kl_tiles.h"
#include "src/ops/parallel.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace sparity::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Key gradients are gathered in this many sums, each of its own tiles in order, and the sums added
/// in order: no bit depends on the number of threads.
constexpr std::int64_t kLanes = 8;

/// One layer's operands, cut the same way for the target and for the scores.
struct KlLayer {
  KlRowRule rule;
  KlTargets targets;
  KlTiling tiling;

  KlLayer(const KlTeacher& teacher, const KeyMask& mask, const core::KlOptions& options)
      : rule{options, teacher.operands.q_nope.size(2), teacher.operands.q_nope.scalar_type()},
        targets(teacher, rule),
        tiling(mask, teacher.selected, options, targets.tile_rows()) {}
};

/// KL_t of every row and, where wanted, the gradients of their sum.
struct Pass {
  at::Tensor rows;     // [B, S]
  at::Tensor q;        // [B, S, Hi, Di]
  at::Tensor k;        // [B, T, Di]
  at::Tensor weights;  // [B, S, Hi]
  at::Tensor scores;   // [B, S, T]; undefined unless somebody wants to see it
};

/// The tile's gradients of scores, to their keys.
void note_scores(const KlTile& tile, const at::Tensor& gradient, const at::Tensor& scores) {
  if (tile.scores_gathered) {
    tile.of(scores).scatter_add_(1, tile.keys, gradient);
  } else {
    tile.of(scores).narrow(1, 0, gradient.size(1)).copy_(gradient);
  }
}

Pass run(const IndexOperands& index, const KlTeacher& teacher, const KeyMask& mask,
         const core::KlOptions& options, const at::Tensor& target, bool with_gradients,
         bool with_scores) {
  const KlLayer layer(teacher, mask, options);
  const KlScores scores(index);
  const std::int64_t tiles = layer.tiling.tiles();
  const at::TensorOptions wide = index.weights.options();
  Pass pass{at::zeros({index.q.size(0), index.q.size(1)}, wide), {}, {}, {}, {}};
  if (with_gradients) {
    pass.q = at::empty(index.q.sizes(), wide);
    pass.k = at::empty(index.k.sizes(), wide);
    pass.weights = at::empty(index.weights.sizes(), wide);
  }
  if (with_scores) {
    pass.scores = at::zeros({index.q.size(0), index.q.size(1), index.k.size(1)}, wide);
  }
  for (std::int64_t b = 0; b < index.q.size(0); ++b) {
    const std::int64_t used = std::min(kLanes, tiles);
    std::vector<at::Tensor> lanes(static_cast<std::size_t>(used));
    for_each_item(used, [&](std::int64_t lane) {
      at::Tensor& sum = lanes[static_cast<std::size_t>(lane)];
      if (with_gradients) {
        sum = at::zeros({index.k.size(1), index.k.size(2)}, wide);
      }
      for (std::int64_t t = lane; t < tiles; t += kLanes) {
        const KlTile tile = layer.tiling.tile(b, t);
        const at::Tensor p =
            target.defined() ? tile.on_target_columns(target) : layer.targets.target(tile);
        const KlColumns columns{scores.scores(tile), tile.on_score_columns(p)};
        kl_of_rows(layer.rule, columns, with_gradients, tile.of(pass.rows));
        if (with_scores) {
          note_scores(tile, columns.scores, pass.scores);
        }
        if (with_gradients) {
          scores.backward(tile, columns.scores, {pass.q, pass.weights, sum});
        }
      }
    });
    if (with_gradients) {
      const at::Tensor sum = pass.k[b];
      sum.copy_(lanes[0]);
      for (std::size_t lane = 1; lane < lanes.size(); ++lane) {
        sum.add_(lanes[lane]);
      }
    }
  }
  return pass;
}

/// Zeros in the place of the index scores, which nobody formed: what arrives here goes no further.
struct UnformedScores : torch::autograd::Function<UnformedScores> {
  static at::Tensor forward(AutogradContext*, const at::Tensor&, const at::Tensor&,
                            const at::Tensor& weights, const at::Tensor& gradient) {
    return at::zeros(gradient.sizes(), weights.options());
  }
  static variable_list backward(AutogradContext*, const variable_list&) {
    return {at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// Shows a probe the gradient of the scores, and refuses another in its place.
at::Tensor shown_scores(const IndexOperands& index, const Pass& pass, const tensors::Probe& probe) {
  if (!pass.scores.defined()) {
    return at::empty({0}, index.weights.options());  // autograd takes no undefined input
  }
  const at::Tensor scores = UnformedScores::apply(index.q, index.k, index.weights, pass.scores);
  const auto sent = std::make_shared<at::Tensor>();
  scores.register_hook([sent](const at::Tensor& gradient) {
    *sent = gradient;
    return gradient;
  });
  probe.sum_gradient("scores", {scores});
  scores.register_hook([sent](const at::Tensor& gradient) {
    SPARITY_CHECK_INPUT(gradient.is_same(*sent) || gradient.equal(*sent),
                        "forced 'grad.….indexer.scores': expected the run's own values, since the "
                        "pass of the KL loss has no place for others; found others");
    return gradient;
  });
  return scores;
}

/// Inputs: q, k and weights, which take the gradients that `pass` already holds.
struct IndexerKlSum : torch::autograd::Function<IndexerKlSum> {
  static variable_list forward(AutogradContext* context, const at::Tensor& q, const at::Tensor&,
                               const at::Tensor&, const at::Tensor& scores, const Pass& pass) {
    const bool shown = pass.scores.defined();
    context->save_for_backward({pass.q, pass.k, pass.weights, shown ? pass.scores : scores});
    context->saved_data["shown"] = shown;
    context->saved_data["activation"] = static_cast<std::int64_t>(q.scalar_type());
    context->mark_non_differentiable({pass.rows});
    return {pass.rows.sum(at::kDouble).to(pass.rows.scalar_type()), pass.rows};
  }

  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    const variable_list saved = context->get_saved_variables();
    const auto activation = static_cast<at::ScalarType>(context->saved_data["activation"].toInt());
    return {saved[0].mul(arrived[0]).to(activation), saved[1].mul(arrived[0]).to(activation),
            saved[2].mul(arrived[0]),
            context->saved_data["shown"].toBool() ? saved[3].mul(arrived[0]) : at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

std::int64_t counted_rows(const KeyMask& mask) {
  constexpr std::int64_t kRows = 64;
  std::int64_t counted = 0;
  for (std::int64_t row0 = 0; row0 < mask.tokens(); row0 += kRows) {
    const std::int64_t row1 = std::min(row0 + kRows, mask.tokens());
    counted += mask.rows(row0, row1).any(-1).sum().item().toLong();
  }
  return counted;
}

at::Tensor kl_target(const KlTeacher& teacher, const KeyMask& mask,
                     const core::KlOptions& options) {
  const KlLayer layer(teacher, mask, options);
  at::Tensor target =
      at::zeros({mask.batch(), mask.tokens(), mask.tokens()}, teacher.lse.options());
  const std::int64_t tiles = layer.tiling.tiles();
  for_each_item(mask.batch() * tiles, [&](std::int64_t item) {
    const KlTile tile = layer.tiling.tile(item / tiles, item % tiles);
    const at::Tensor p = layer.targets.target(tile);
    if (tile.target_gathered) {
      tile.of(target).scatter_add_(1, tile.keys, p);
    } else {
      tile.of(target).narrow(1, 0, p.size(1)).copy_(p);
    }
  });
  return target;
}

IndexerKl indexer_kl(const IndexOperands& index, const KlTeacher& teacher, const KeyMask& mask,
                     const core::KlOptions& options, const at::Tensor& target,
                     const tensors::Probe& probe) {
  const bool with_gradients =
      at::GradMode::is_enabled() &&
      (index.q.requires_grad() || index.k.requires_grad() || index.weights.requires_grad());
  Pass pass;
  {
    const at::NoGradGuard no_gradients;
    pass = run({index.q.detach(), index.k.detach(), index.weights.detach()}, teacher, mask, options,
               target, with_gradients, with_gradients && probe.wants_gradient("scores"));
  }
  if (!with_gradients) {
    return {pass.rows.sum(at::kDouble).to(pass.rows.scalar_type()), pass.rows};
  }
  const variable_list result =
      IndexerKlSum::apply(index.q, index.k, index.weights, shown_scores(index, pass, probe), pass);
  return {result[0], result[1]};
}

}  // namespace sparity::ops
