#include "reference/model/indexer.h"

#include "reference/model/norm.h"
#include "reference/model/query_chunks.h"
#include "src/core/error.h"
#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sort.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace sparity::reference::model {
namespace {

constexpr double kKeyNormEps = 1e-6;  // D-05
constexpr double kMasked = -std::numeric_limits<double>::infinity();

/// Rotates the first Dr components of x [B, S, heads, Di] and leaves the rest (D-02).
at::Tensor rotate_first(const at::Tensor& x, const RotaryTable& table) {
  const std::int64_t rope_dim = 2 * table.cos.size(-1);
  const at::Tensor rotated = rotate_half_split(x.narrow(-1, 0, rope_dim), table);
  return at::cat({rotated, x.narrow(-1, rope_dim, x.size(-1) - rope_dim)}, -1);
}

}  // namespace

at::Tensor index_queries(const at::Tensor& q_latent, const IndexerWeights& weights,
                         const RotaryTable& table) {
  const std::int64_t head_dim = weights.wk.weight.size(0);
  return rotate_first(linear(q_latent, weights.wq_b).unflatten(-1, {-1, head_dim}), table);
}

at::Tensor index_keys(const at::Tensor& x, const IndexerWeights& weights,
                      const RotaryTable& table) {
  const at::Tensor keys =
      layer_norm(linear(x, weights.wk), weights.k_norm_weight, weights.k_norm_bias, kKeyNormEps);
  return rotate_first(keys.unsqueeze(2), table).squeeze(2);
}

at::Tensor index_weights(const at::Tensor& x, const IndexerWeights& weights, core::Recipe recipe) {
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  const at::ScalarType projecting = recipe == core::Recipe::kHf ? x.scalar_type() : wide;
  const auto heads = static_cast<double>(weights.weights_proj.weight.size(0));
  const auto head_dim = static_cast<double>(weights.wk.weight.size(0));
  return linear(x.to(projecting), weights.weights_proj.to(projecting)).to(wide) *
         (1.0 / std::sqrt(heads) / std::sqrt(head_dim));
}

at::Tensor hadamard(const at::Tensor& x) {
  const std::int64_t width = x.size(-1);
  SPARITY_CHECK_INPUT(
      width > 0 && std::has_single_bit(static_cast<std::uint64_t>(width)),
      fmt::format("Hadamard transform: expected a power of two, found index_head_dim {}", width));
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  at::Tensor matrix = at::ones({1, 1}, x.options().dtype(wide));
  while (matrix.size(0) < width) {
    matrix = at::cat({at::cat({matrix, matrix}, 1), at::cat({matrix, -matrix}, 1)}, 0);
  }
  return linear(x.to(wide), matrix) / std::sqrt(static_cast<double>(width));
}

at::Tensor index_scores(const at::Tensor& q, const at::Tensor& k, const at::Tensor& w,
                        const at::Tensor& valid) {
  const at::ScalarType wide = tensors::at_least_f32(q.scalar_type());
  const at::Tensor keys = k.to(wide);
  const std::int64_t queries = q.size(1);
  const std::int64_t step =
      queries_per_chunk(queries, q.size(0) * q.size(2) * k.size(1) *
                                     static_cast<std::int64_t>(c10::elementSize(wide)));
  std::vector<at::Tensor> chunks;
  for (std::int64_t first = 0; first < queries; first += step) {
    const std::int64_t rows = std::min(step, queries - first);
    const at::Tensor products =
        at::einsum("bshd,btd->bsht", {q.narrow(1, first, rows).to(wide), keys});
    const at::Tensor weighted = at::relu(products) * w.narrow(1, first, rows).unsqueeze(-1);
    chunks.push_back(weighted.sum(2));
  }
  return at::cat(chunks, 1).masked_fill(valid.logical_not(), kMasked);
}

at::Tensor topk_indices(const at::Tensor& scores, std::int64_t k) {
  // Adding +0 turns −0 into +0, so that no sorting network can tell them apart.
  const auto [sorted, order] =
      at::sort(scores.detach() + 0.0, /*stable=*/true, /*dim=*/-1, /*descending=*/true);
  const std::int64_t kept = std::min(k, scores.size(-1));
  return order.narrow(-1, 0, kept).masked_fill(sorted.narrow(-1, 0, kept) == kMasked, -1);
}

KeySelection select_keys(const at::Tensor& x, const at::Tensor& q_latent,
                         const IndexerWeights& weights, const core::ModelConfig& config,
                         const at::Tensor& valid, const RotaryTable& table, core::Recipe recipe,
                         bool use_hadamard, const tensors::Probe& probe) {
  at::Tensor q = probe("q", index_queries(q_latent, weights, table));
  at::Tensor k = probe("k", index_keys(x, weights, table));
  const at::Tensor w = probe("weights", index_weights(x, weights, recipe));
  if (use_hadamard) {
    q = hadamard(q);
    k = hadamard(k);
  }
  const at::Tensor scores = probe("scores", index_scores(q, k, w, valid));
  return {scores, probe("topk_indices", topk_indices(scores, config.index_topk))};
}

}  // namespace sparity::reference::model
