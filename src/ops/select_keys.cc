#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/ops/indexer.h"
#include "src/ops/parallel.h"
#include "src/ops/register_block.h"
#include "src/ops/top_k.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

/// Where scores are wanted, those of this many queries of every batch row exist at a time.
constexpr std::int64_t kQueryTile = 64;
/// Queries that one thread takes at a time: a panel of keys serves all of them from cache.
constexpr std::int64_t kQueryGroup = 16;
/// Heads and vectors of keys that are in registers at a time.
constexpr int kHeads = 4;
constexpr int kVectors = 3;
constexpr int kBytes = 64;
/// Keys that are scored at a time.
template <typename W>
constexpr std::int64_t kPanel = kVectors* kLanes<W, kBytes>;

/// scores[0, kPanel) = Σ_h weights[h] · max(Σ_d q[h][d] · panel[d], least). q [heads, dim], heads a
/// multiple of kHeads; panel: its `dim` rows.
template <typename W>
[[gnu::always_inline]] inline void score(const W* q, const W* weights, W least,
                                         const W* const* panel, std::int64_t heads,
                                         std::int64_t dim, W* scores) {
  using Lane = Vector<W, kBytes>;
  Lane total[kVectors] = {};
  for (std::int64_t h = 0; h < heads; h += kHeads) {
    const W* rows[kHeads];
    for (int m = 0; m < kHeads; ++m) {
      rows[m] = q + (h + m) * dim;
    }
    RegisterBlock<W, kBytes, kHeads, kVectors> dots;
    dots.compute(rows, 1, panel, 0, dim);
    for (int m = 0; m < kHeads; ++m) {
      for (int v = 0; v < kVectors; ++v) {
        const Lane dot = dots.sums[m][v];
        total[v] += weights[h + m] * (dot < least ? least - Lane{} : dot);
      }
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    *reinterpret_cast<Lane*>(scores + v * kLanes<W, kBytes>) = total[v];
  }
}

[[gnu::target_clones("avx512f", "fma", "default"), gnu::optimize("O3")]] void score_panel(
    const float* q, const float* weights, float least, const float* const* panel,
    std::int64_t heads, std::int64_t dim, float* scores) {
  score(q, weights, least, panel, heads, dim, scores);
}
[[gnu::target_clones("avx512f", "fma", "default"), gnu::optimize("O3")]] void score_panel(
    const double* q, const double* weights, double least, const double* const* panel,
    std::int64_t heads, std::int64_t dim, double* scores) {
  score(q, weights, least, panel, heads, dim, scores);
}

/// Queries [B, S, Hi, Di], and their heads' weights [B, S, Hi].
at::Tensor queries_of(const IndexOperands& operands) {
  return planted(Fault::kF118WeightBeforeRelu) ? operands.q.mul(operands.weights.unsqueeze(-1))
                                               : operands.q;
}
at::Tensor weights_of(const IndexOperands& operands) {
  if (planted(Fault::kF118WeightBeforeRelu)) {
    return at::ones_like(operands.weights);
  }
  return planted(Fault::kF119ScoresAveragedOverHeads) ? operands.weights.div(operands.q.size(2))
                                                      : operands.weights;
}

/// What every query's keys are chosen by.
template <typename W>
class Scorer {
 public:
  Scorer(const IndexOperands& operands, const KeyMask& mask)
      : mask_(mask),
        queries_(operands.q.size(1)),
        keys_(operands.k.size(1)),
        dim_(operands.k.size(2)),
        heads_((operands.q.size(2) + kHeads - 1) / kHeads * kHeads),
        panels_((keys_ + kPanel<W> - 1) / kPanel<W>),
        q_(with_heads(queries_of(operands))),
        weights_(with_heads(weights_of(operands))),
        packed_(packed(operands.k)) {}

  /// Keys from here on are open to no query before `row`.
  std::int64_t reachable(std::int64_t row) const {
    const std::int64_t leak = planted(Fault::kF05MaskLeaksOneToken) ? 1 : 0;
    return unmasked_ || mask_late_ ? keys_ : std::min(row + leak, keys_);
  }

  /// What query s may choose from.
  void open(std::int64_t b, std::int64_t s, std::int64_t count, bool* out) const {
    unmasked_ || mask_late_ ? mask_.row_without_causality(b, s, count, out)
                            : mask_.row(b, s, count, out);
  }

  bool masks_late() const { return mask_late_; }
  const KeyMask& mask() const { return mask_; }

  /// Numbers that a row of scores must have room for.
  std::int64_t row_size() const { return panels_ * kPanel<W>; }

  /// Scores of queries [row, row + rows) of batch row b against keys [0, count), to rows of
  /// `stride` numbers; those of closed keys are replaced by −inf later.
  void score_rows(std::int64_t b, std::int64_t row, std::int64_t rows, std::int64_t count,
                  std::int64_t stride, W* scores) const {
    const W least =
        planted(Fault::kF45IndexerReluOmitted) ? -std::numeric_limits<W>::infinity() : W(0);
    const std::int64_t end = planted(Fault::kF51LastTileDropped) ? count - 1 : count;
    std::vector<const W*> panel(static_cast<std::size_t>(dim_));
    for (std::int64_t key = 0; key < end; key += kPanel<W>) {
      const W* first = packed_.const_data_ptr<W>() + (b * row_size() + key) * dim_;
      for (std::int64_t d = 0; d < dim_; ++d) {
        panel[static_cast<std::size_t>(d)] = first + d * kPanel<W>;
      }
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int64_t query = b * queries_ + row + r;
        score_panel(q_.const_data_ptr<W>() + query * heads_ * dim_,
                    weights_.const_data_ptr<W>() + query * heads_, least, panel.data(), heads_,
                    dim_, scores + r * stride + key);
      }
    }
    for (std::int64_t r = 0; r < rows && end < count; ++r) {
      std::fill(scores + r * stride + end, scores + r * stride + count,
                -std::numeric_limits<W>::infinity());
    }
  }

 private:
  /// x [B, S, Hi, …] with heads of zeros, which add nothing, up to a multiple of kHeads.
  at::Tensor with_heads(const at::Tensor& x) const {
    std::vector<std::int64_t> shape = x.sizes().vec();
    if (shape[2] == heads_) {
      return x.contiguous();
    }
    const std::int64_t heads = std::exchange(shape[2], heads_);
    at::Tensor all = at::zeros(shape, x.options());
    all.narrow(2, 0, heads).copy_(x);
    return all;
  }

  /// Keys [B, T, Di] as panels [B, panels, Di, kPanel], the last one filled up with zeros.
  at::Tensor packed(const at::Tensor& k) const {
    const at::Tensor keys = k.contiguous();
    at::Tensor all = at::empty({keys.size(0), panels_, dim_, kPanel<W>}, keys.options());
    const W* in = keys.const_data_ptr<W>();
    W* out = all.mutable_data_ptr<W>();
    for_each_item(keys.size(0) * panels_, [=, this](std::int64_t item) {
      const std::int64_t key0 = item % panels_ * kPanel<W>;
      const W* rows = in + (item / panels_ * keys_ + key0) * dim_;
      W* panel = out + item * dim_ * kPanel<W>;
      for (std::int64_t d = 0; d < dim_; ++d) {
        for (std::int64_t t = 0; t < kPanel<W>; ++t) {
          panel[d * kPanel<W> + t] = key0 + t < keys_ ? rows[t * dim_ + d] : W(0);
        }
      }
    });
    return all;
  }

  const KeyMask& mask_;
  bool unmasked_ = planted(Fault::kF07NoMaskInIndexer);
  bool mask_late_ = planted(Fault::kF08MaskAfterTopk);
  std::int64_t queries_;
  std::int64_t keys_;
  std::int64_t dim_;
  std::int64_t heads_;
  std::int64_t panels_;
  at::Tensor q_;
  at::Tensor weights_;
  at::Tensor packed_;
};

/// Some queries of one batch row.
struct Group {
  std::int64_t b;
  std::int64_t row;
  std::int64_t rows;
};

/// Calls `body(workspace, group)` for queries [row0, row1) of every batch row, the last queries,
/// which see most, first.
template <typename MakeWorkspace, typename Body>
void for_each_group(std::int64_t batch, std::int64_t row0, std::int64_t row1,
                    MakeWorkspace make_workspace, Body body) {
  const std::int64_t groups = (row1 - row0 + kQueryGroup - 1) / kQueryGroup;
  for_each_item(batch * groups, make_workspace, [&](auto& workspace, std::int64_t item) {
    const std::int64_t row = row0 + (groups - 1 - item / batch) * kQueryGroup;
    body(workspace, Group{item % batch, row, std::min(kQueryGroup, row1 - row)});
  });
}

/// What a thread needs to choose keys.
template <typename W>
struct Choosing {
  TopK<W> best;
  std::vector<char> open;  // to one query
  at::Tensor scores;       // room for those of a group

  Choosing(const Scorer<W>& scorer, std::int64_t width)
      : best(width), open(static_cast<std::size_t>(scorer.row_size())) {}

  /// The best keys of query s of batch row b by its scores of keys [0, count), to out[0, width).
  void choose(const Scorer<W>& scorer, std::int64_t b, std::int64_t s, const W* of,
              std::int64_t count, std::int64_t width, std::int64_t* out) {
    bool* may = reinterpret_cast<bool*>(open.data());
    scorer.open(b, s, count, may);
    best.select(of, may, count, out);
    if (planted(Fault::kF115PaddedWithKeyZero)) {
      std::replace(out, out + width, std::int64_t{-1}, std::int64_t{0});
    }
    if (planted(Fault::kF116TopkLimitedByQueries)) {
      std::fill(out + std::min(width, kQueryGroup), out + width, -1);
    }
    if (scorer.masks_late()) {
      scorer.mask().row(b, s, count, may);
      std::replace_if(
          out, out + width, [may](std::int64_t t) { return t >= 0 && !may[t]; }, -1);
    }
  }
};

/// Chooses for all queries at once: scores of a group live in the workspace of its thread.
template <typename W>
void choose_all(const Scorer<W>& scorer, std::int64_t rows, at::TensorOptions options,
                at::Tensor& indices) {
  const std::int64_t width = indices.size(2);
  auto* out = indices.mutable_data_ptr<std::int64_t>();
  for_each_group(
      indices.size(0), 0, rows,
      [&] {
        Choosing<W> own(scorer, width);
        own.scores = at::empty({kQueryGroup, scorer.row_size()}, options);
        return own;
      },
      [&](Choosing<W>& own, const Group& group) {
        const std::int64_t newest = planted(Fault::kF133OwnGroupNotScored) ? 1 : group.rows;
        const std::int64_t count = scorer.reachable(group.row + newest);
        W* scores = own.scores.template mutable_data_ptr<W>();
        scorer.score_rows(group.b, group.row, group.rows, count, scorer.row_size(), scores);
        for (std::int64_t r = 0; r < group.rows; ++r) {
          own.choose(scorer, group.b, group.row + r, scores + r * scorer.row_size(), count, width,
                     out + (group.b * indices.size(1) + group.row + r) * width);
        }
      });
}

/// Scores of queries [row0, row1) as the probe sees them: [B, rows, T], −inf at closed keys.
template <typename W>
at::Tensor score_tile(const Scorer<W>& scorer, std::int64_t row0, std::int64_t row1,
                      at::TensorOptions options) {
  const std::int64_t keys = scorer.mask().tokens();
  const W masked = planted(Fault::kF121LowestForMaskedScores) ? std::numeric_limits<W>::lowest()
                                                              : -std::numeric_limits<W>::infinity();
  at::Tensor tile = at::empty({scorer.mask().batch(), row1 - row0, scorer.row_size()}, options);
  W* out = tile.mutable_data_ptr<W>();
  for_each_group(
      tile.size(0), row0, row1, [&] { return std::vector<char>(static_cast<std::size_t>(keys)); },
      [&](std::vector<char>& open, const Group& group) {
        bool* may = reinterpret_cast<bool*>(open.data());
        const std::int64_t count = scorer.reachable(group.row + group.rows);
        W* scores = out + (group.b * tile.size(1) + group.row - row0) * scorer.row_size();
        scorer.score_rows(group.b, group.row, group.rows, count, scorer.row_size(), scores);
        for (std::int64_t r = 0; r < group.rows; ++r, scores += scorer.row_size()) {
          scorer.open(group.b, group.row + r, count, may);
          for (std::int64_t t = 0; t < keys; ++t) {
            scores[t] = t < count && may[t] ? scores[t] : masked;
          }
        }
      });
  return tile.narrow(2, 0, keys).contiguous();
}

/// Chooses tile by tile, each shown to the probe first.
template <typename W>
void choose_by_tiles(const Scorer<W>& scorer, std::int64_t rows, at::TensorOptions options,
                     const tensors::Probe& probe, at::Tensor& indices) {
  const std::int64_t width = indices.size(2);
  auto* out = indices.mutable_data_ptr<std::int64_t>();
  for (std::int64_t row0 = 0; row0 < rows; row0 += kQueryTile) {
    const std::int64_t row1 = std::min(row0 + kQueryTile, rows);
    const at::Tensor tile =
        probe.tile("scores", indices.size(1), row0, score_tile(scorer, row0, row1, options))
            .contiguous();
    for_each_group(
        tile.size(0), row0, row1, [&] { return Choosing<W>(scorer, width); },
        [&](Choosing<W>& own, const Group& group) {
          for (std::int64_t s = group.row; s < group.row + group.rows; ++s) {
            const std::int64_t line = group.b * tile.size(1) + s - row0;
            own.choose(scorer, group.b, s, tile.const_data_ptr<W>() + line * tile.size(2),
                       tile.size(2), width, out + (group.b * indices.size(1) + s) * width);
          }
        });
  }
}

}  // namespace

at::Tensor select_keys(const IndexOperands& operands, const KeyMask& mask, std::int64_t index_topk,
                       const tensors::Probe& probe) {
  const at::ScalarType type = operands.weights.scalar_type();
  const IndexOperands wide{operands.q.to(type), operands.k.to(type), operands.weights};
  const std::int64_t queries = wide.q.size(1);
  at::Tensor indices =
      at::full({wide.q.size(0), queries, std::min(index_topk, mask.tokens())}, -1, at::kLong);
  const bool stale = planted(Fault::kF49StaleTail) && queries > kQueryTile;
  const std::int64_t rows = stale ? (queries - 1) / kQueryTile * kQueryTile : queries;
  dispatch_wide(type, [&](auto tag) {
    using W = decltype(tag);
    const Scorer<W> scorer(wide, mask);
    if (probe.wants("scores")) {
      choose_by_tiles(scorer, rows, wide.k.options(), probe, indices);
    } else {
      choose_all(scorer, rows, wide.k.options(), indices);
    }
  });
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
