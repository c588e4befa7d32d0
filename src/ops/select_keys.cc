#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/ops/indexer.h"
#include "src/ops/parallel.h"
#include "src/ops/top_k.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <limits>
#include <string>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

/// Scores of this many queries of every batch row exist at a time.
constexpr std::int64_t kQueryTile = 64;
/// One matrix product covers this many queries and this many keys: its result stays in cache.
/// Fixed, so that no bit depends on the number of threads.
constexpr std::int64_t kQueryGroup = 16;
constexpr std::int64_t kKeyTile = 256;

template <typename W>
[[gnu::always_inline]] inline void add_weighted(W* sum, const W* dots, W weight, W least,
                                                std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    sum[i] += weight * (dots[i] > least ? dots[i] : least);
  }
}

/// sum[i] += weight · max(dots[i], least). Without fused multiply-add, so that every processor
/// computes the same bits.
[[gnu::target_clones("avx2", "default"), gnu::optimize("O3")]] void add_clamped(
    float* sum, const float* dots, float weight, float least, std::int64_t n) {
  add_weighted(sum, dots, weight, least, n);
}
[[gnu::target_clones("avx2", "default"), gnu::optimize("O3")]] void add_clamped(
    double* sum, const double* dots, double weight, double least, std::int64_t n) {
  add_weighted(sum, dots, weight, least, n);
}

/// A tile of queries: rows [row0, row1) of every batch row, and what each may choose from.
struct QueryTile {
  std::int64_t row0;
  std::int64_t row1;
  std::int64_t reachable;  // keys from here on are open to no query of the tile
  at::Tensor open;         // Bool [B, rows, T]
};

/// Scores of queries [row, row + rows) of batch row b against the tile's reachable keys, to
/// `scores` [rows, T].
template <typename W>
void score_group(const IndexOperands& wide, std::int64_t b, std::int64_t row, std::int64_t rows,
                 std::int64_t end, W* scores) {
  const std::int64_t heads = wide.q.size(2);
  const std::int64_t keys = wide.k.size(1);
  const at::Tensor q = wide.q[b].narrow(0, row, rows).reshape({rows * heads, -1});
  const at::Tensor buffer = at::empty({rows * heads * std::min(kKeyTile, keys)}, q.options());
  const W* weights = wide.weights.const_data_ptr<W>() + (b * wide.q.size(1) + row) * heads;
  const W least = planted(Fault::kF45IndexerReluOmitted) ? -std::numeric_limits<W>::infinity() : 0;
  for (std::int64_t key0 = 0; key0 < end; key0 += kKeyTile) {
    const std::int64_t width = std::min(kKeyTile, end - key0);
    at::Tensor dots = buffer.narrow(0, 0, rows * heads * width).view({rows * heads, width});
    at::mm_out(dots, q, wide.k[b].narrow(0, key0, width).t());
    const W* dot = dots.const_data_ptr<W>();
    for (std::int64_t r = 0; r < rows; ++r) {
      W* sum = scores + r * keys + key0;
      std::fill_n(sum, width, W(0));
      for (std::int64_t h = 0; h < heads; ++h, dot += width) {
        add_clamped(sum, dot, weights[r * heads + h], least, width);
      }
    }
  }
}

/// Calls `group(b, row, rows)` for every group of queries of the tile.
template <typename Group>
void for_each_group(std::int64_t batch, const QueryTile& tile, Group group) {
  const std::int64_t groups = (tile.row1 - tile.row0 + kQueryGroup - 1) / kQueryGroup;
  for_each_item(batch * groups, [&](std::int64_t item) {
    const std::int64_t row = tile.row0 + item % groups * kQueryGroup;
    group(item / groups, row, std::min(kQueryGroup, tile.row1 - row));
  });
}

/// [B, rows, T], −inf at keys that are not open.
at::Tensor score_tile(const IndexOperands& wide, const QueryTile& tile) {
  const std::int64_t keys = wide.k.size(1);
  const std::int64_t tile_rows = tile.row1 - tile.row0;
  const std::int64_t end =
      planted(Fault::kF51LastTileDropped) ? tile.reachable - 1 : tile.reachable;
  at::Tensor scores = at::empty({wide.k.size(0), tile_rows, keys}, wide.k.options());
  dispatch_wide(wide.k.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    constexpr W kClosed = -std::numeric_limits<W>::infinity();
    W* out = scores.mutable_data_ptr<W>();
    const bool* open = tile.open.const_data_ptr<bool>();
    for_each_group(wide.k.size(0), tile, [&](std::int64_t b, std::int64_t row, std::int64_t rows) {
      const std::int64_t offset = (b * tile_rows + row - tile.row0) * keys;
      score_group(wide, b, row, rows, end, out + offset);
      for (std::int64_t r = offset; r < offset + rows * keys; r += keys) {
        for (std::int64_t t = 0; t < end; ++t) {
          out[r + t] = open[r + t] ? out[r + t] : kClosed;
        }
        std::fill(out + r + end, out + r + keys, kClosed);
      }
    });
  });
  return scores;
}

at::Tensor top_k_rows(const at::Tensor& scores, const at::Tensor& open, std::int64_t k) {
  const std::int64_t keys = scores.size(2);
  return top_k(scores.reshape({-1, keys}), open.reshape({-1, keys}), k)
      .view({scores.size(0), scores.size(1), -1});
}

}  // namespace

at::Tensor select_keys(const IndexOperands& operands, const KeyMask& mask, std::int64_t index_topk,
                       const tensors::Probe& probe) {
  const at::ScalarType type = operands.weights.scalar_type();
  const IndexOperands wide{operands.q.to(type).contiguous(), operands.k.to(type).contiguous(),
                           operands.weights.contiguous()};
  const std::int64_t queries = wide.q.size(1);
  const std::int64_t keys = wide.k.size(1);
  at::Tensor indices =
      at::full({wide.q.size(0), queries, std::min(index_topk, keys)}, -1, at::kLong);
  const bool unmasked = planted(Fault::kF07NoMaskInIndexer);
  const bool mask_late = planted(Fault::kF08MaskAfterTopk);
  const std::int64_t leak = planted(Fault::kF05MaskLeaksOneToken) ? 1 : 0;
  for (std::int64_t row0 = 0; row0 < queries; row0 += kQueryTile) {
    const std::int64_t row1 = std::min(row0 + kQueryTile, queries);
    if (planted(Fault::kF49StaleTail) && row1 == queries && row0 > 0) {
      break;
    }
    const at::Tensor visible =
        unmasked ? mask.rows_without_causality(row0, row1) : mask.rows(row0, row1);
    const QueryTile tile{
        .row0 = row0,
        .row1 = row1,
        .reachable = unmasked || mask_late ? keys : std::min(row1 + leak, keys),
        .open = mask_late ? mask.rows_without_causality(row0, row1) : visible,
    };
    const at::Tensor scores = probe.tile("scores", queries, row0, score_tile(wide, tile));
    at::Tensor chosen = top_k_rows(scores, tile.open, index_topk);
    if (mask_late) {
      const at::Tensor seen = visible.gather(2, chosen.clamp_min(0)).logical_and(chosen.ge(0));
      chosen = chosen.masked_fill(seen.logical_not(), -1);
    }
    indices.narrow(1, row0, row1 - row0).copy_(chosen);
  }
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
