#include "reference/model/attention.h"

#include "reference/model/mask.h"
#include "reference/model/norm.h"
#include "reference/model/query_chunks.h"
#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace sparity::reference::model {
namespace {

constexpr double kLatentNormEps = 1e-6;  // q_a_layernorm and kv_a_layernorm
constexpr double kMasked = -std::numeric_limits<double>::infinity();

/// `masked_attention` of a few queries.
Attended attend_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      const at::Tensor& support, double scale, core::Recipe recipe) {
  const at::ScalarType activation = q.scalar_type();
  const at::ScalarType wide = tensors::at_least_f32(activation);
  const MaskedSoftmax softmax = masked_softmax(attention_logits(q, k, scale), support.unsqueeze(1));
  const at::ScalarType weighing = recipe == core::Recipe::kHf ? wide : activation;
  const at::Tensor output =
      at::einsum("bhst,bthd->bshd", {softmax.probabilities.to(weighing), v.to(weighing)});
  return {output.to(activation), softmax.lse.transpose(1, 2)};
}

/// What attention needs of the layer's input.
struct Projections {
  at::Tensor q_latent;   // [B, S, Rq], normed
  at::Tensor kv_latent;  // [B, S, Rkv], normed
  at::Tensor q;          // [B, S, H, Dqk], nope then rotated
  at::Tensor k_rot;      // [B, S, Dr]
};

Projections project(const at::Tensor& x, const AttentionWeights& weights, const ForwardPass& pass,
                    const tensors::Probe& probe) {
  const core::ModelConfig& config = pass.config;
  const std::int64_t nope_dim = config.qk_nope_head_dim;
  const std::int64_t rope_dim = config.qk_rope_head_dim;
  Projections out;
  out.q_latent = probe("q_a_layernorm", rms_norm(linear(x, weights.q_a_proj), weights.q_a_layernorm,
                                                 kLatentNormEps, pass.recipe));
  const at::Tensor kv = linear(x, weights.kv_a_proj_with_mqa);  // [B, S, Rkv+Dr]
  out.kv_latent =
      probe("kv_a_layernorm", rms_norm(kv.narrow(-1, 0, config.kv_lora_rank),
                                       weights.kv_a_layernorm, kLatentNormEps, pass.recipe));
  const at::Tensor q =
      linear(out.q_latent, weights.q_b_proj).unflatten(-1, {-1, config.qk_head_dim()});
  const at::Tensor q_rot = rotate_interleaved(q.narrow(-1, nope_dim, rope_dim), pass.table);
  out.q = probe("q", at::cat({q.narrow(-1, 0, nope_dim), q_rot}, -1));
  const at::Tensor k_rot = kv.narrow(-1, config.kv_lora_rank, rope_dim).unsqueeze(2);
  out.k_rot = probe("k_rot", rotate_interleaved(k_rot, pass.table).squeeze(2));
  return out;
}

/// The keys that each query attends to: Bool [B, S, T].
at::Tensor attended_keys(const at::Tensor& x, const at::Tensor& q_latent,
                         const AttentionWeights& weights, const ForwardPass& pass,
                         const tensors::Probe& probe, LayerRecord* record) {
  const bool sparse = pass.options.attention == core::AttentionMode::kSparse;
  if (!sparse && record == nullptr && !probe.wants("scores") && !probe.wants("topk_indices")) {
    return pass.valid;
  }
  const core::KlDetach detach =
      record == nullptr ? core::KlDetach::kNone : pass.options.record->indexer.value();
  const KeySelection selected =
      select_keys(detach == core::KlDetach::kBoth ? x.detach() : x,
                  detach == core::KlDetach::kNone ? q_latent : q_latent.detach(), weights.indexer,
                  pass.config, pass.valid, pass.table, pass.recipe, pass.options.hadamard, probe);
  if (record != nullptr) {
    record->index_scores = selected.scores;
  }
  // A selection never makes a masked key visible (D-14).
  return sparse ? support(selected.indices, pass.valid.size(-1)) & pass.valid : pass.valid;
}

}  // namespace

MaskedSoftmax masked_softmax(const at::Tensor& z, const at::Tensor& support) {
  const at::Tensor masked = z.masked_fill(support.logical_not(), kMasked);
  const at::Tensor empty = support.any(-1, /*keepdim=*/true).logical_not();
  const at::Tensor largest = masked.detach().amax(-1, /*keepdim=*/true).masked_fill(empty, 0.0);
  const at::Tensor exponentials = (masked - largest).exp();
  const at::Tensor sum = exponentials.sum(-1, /*keepdim=*/true).masked_fill(empty, 1.0);
  const at::Tensor lse = (sum.log() + largest).masked_fill(empty, kMasked);
  return {exponentials / sum, lse.squeeze(-1)};
}

at::Tensor attention_logits(const at::Tensor& q, const at::Tensor& k, double scale) {
  const at::ScalarType wide = tensors::at_least_f32(q.scalar_type());
  return at::einsum("bshd,bthd->bhst", {q.to(wide), k.to(wide)}) * scale;
}

Attended masked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& support, double scale, core::Recipe recipe) {
  const std::int64_t queries = q.size(1);
  const auto element_bytes =
      static_cast<std::int64_t>(c10::elementSize(tensors::at_least_f32(q.scalar_type())));
  const std::int64_t step =
      queries_per_chunk(queries, q.size(0) * q.size(2) * k.size(1) * element_bytes);
  std::vector<at::Tensor> outputs;
  std::vector<at::Tensor> lses;
  for (std::int64_t first = 0; first < queries; first += step) {
    const std::int64_t rows = std::min(step, queries - first);
    Attended chunk =
        attend_chunk(q.narrow(1, first, rows), k, v, support.narrow(1, first, rows), scale, recipe);
    outputs.push_back(std::move(chunk.output));
    lses.push_back(std::move(chunk.lse));
  }
  return {at::cat(outputs, 1), at::cat(lses, 1)};
}

ExpandedKeys expand_keys(const at::Tensor& kv_latent, const at::Tensor& k_rot,
                         const Linear& kv_b_proj, std::int64_t heads, std::int64_t nope_dim) {
  const at::Tensor expanded =
      linear(kv_latent, kv_b_proj).unflatten(-1, {heads, -1});  // [B, T, H, Dn+Dv]
  const at::Tensor k_nope = expanded.narrow(-1, 0, nope_dim);
  const at::Tensor v = expanded.narrow(-1, nope_dim, expanded.size(-1) - nope_dim);
  const at::Tensor k_shared = k_rot.unsqueeze(2).expand({-1, -1, heads, -1});
  return {at::cat({k_nope, k_shared}, -1), v};
}

Attended mla(const at::Tensor& q, const at::Tensor& kv_latent, const at::Tensor& k_rot,
             const Linear& kv_b_proj, const at::Tensor& support, double scale,
             core::Recipe recipe) {
  const ExpandedKeys expanded =
      expand_keys(kv_latent, k_rot, kv_b_proj, q.size(2), q.size(3) - k_rot.size(2));
  return masked_attention(q, expanded.k, expanded.v, support, scale, recipe);
}

at::Tensor self_attention(const at::Tensor& x, const AttentionWeights& weights,
                          const ForwardPass& pass, const tensors::Probe& probe,
                          LayerRecord* record) {
  const Projections projected = project(x, weights, pass, probe);
  const at::Tensor keys =
      attended_keys(x, projected.q_latent, weights, pass, probe.scope("indexer"), record);
  const ExpandedKeys expanded = expand_keys(projected.kv_latent, projected.k_rot, weights.kv_b_proj,
                                            projected.q.size(2), pass.config.qk_nope_head_dim);
  if (record != nullptr) {
    record->queries = projected.q.detach();
    record->keys = expanded.k.detach();
    record->support = keys;
  }
  const Attended attended = masked_attention(projected.q, expanded.k, expanded.v, keys,
                                             softmax_scale(pass.config), pass.recipe);
  probe("lse", attended.lse);  // shown only: nothing reads it
  const at::Tensor output = probe("attn_output", attended.output);
  return linear(output.flatten(2), weights.o_proj);
}

}  // namespace sparity::reference::model
