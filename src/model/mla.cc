#include "src/model/mla.h"

#include "src/core/fault.h"
#include "src/core/profile_scope.h"
#include "src/ops/attention.h"
#include "src/ops/indexer.h"
#include "src/ops/indexer_kl.h"
#include "src/ops/linear.h"
#include "src/ops/norm.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

namespace sparity::model {

namespace {

using core::Fault;
using core::planted;

/// q_a_layernorm, kv_a_layernorm and the indexer's k_norm use this whatever `rms_norm_eps` says.
constexpr double kLatentNormEps = 1e-6;

/// Where the rotated slice of an MLA head [..., Dn + Dr] begins: it is the last one (D-03).
std::int64_t rope_offset(const core::ModelConfig& config) {
  return planted(Fault::kF04RopeOnNopeSlice) ? 0 : config.qk_nope_head_dim;
}

/// q [B, S, H, Dqk] with its rope slice rotated.
at::Tensor rotate_queries(const at::Tensor& q, const ForwardContext& context) {
  const core::ProfileScope scope("rope");
  const std::int64_t rope = context.config.qk_rope_head_dim;
  const std::int64_t begin = rope_offset(context.config);
  const std::int64_t end = begin + rope;
  const at::Tensor rotated = ops::rotate_interleaved(q.narrow(-1, begin, rope), context.table);
  return at::cat({q.narrow(-1, 0, begin), rotated, q.narrow(-1, end, q.size(-1) - end)}, -1);
}

/// k_rot [B, T, Dr].
at::Tensor rotate_keys(const at::Tensor& k_rot, const ForwardContext& context) {
  if (planted(Fault::kF03aRopeQueryOnly)) {
    return k_rot;
  }
  const core::ProfileScope scope("rope");
  const ops::RotaryTable table = planted(Fault::kF03cPositionsPlusOne)
                                     ? ops::RotaryTable{context.table.cos_sin.roll(-1, 1)}
                                     : context.table;
  return ops::rotate_interleaved(k_rot.unsqueeze(2), table).squeeze(2);
}

ops::AttentionOperands detached(const ops::AttentionOperands& operands) {
  return {operands.q_nope.detach(), operands.q_rot.detach(),     operands.kv.detach(),
          operands.k_rot.detach(),  operands.kv_b_proj.detach(), operands.scale};
}

/// The indexer's KL loss; a target that the probe wants to see, or puts in its place, is formed.
ops::IndexerKl teach(const ops::IndexOperands& index, const ops::KlTeacher& teacher,
                     const ForwardContext& context, const tensors::Probe& probe) {
  const core::KlOptions& options = *context.objective.kl;
  at::Tensor target;
  {
    const at::NoGradGuard no_gradients;
    if (probe.wants("kl_target")) {
      target = probe("kl_target", ops::kl_target(teacher, context.mask, options));
    }
  }
  return core::profiled("KL loss", [&] {
    return ops::indexer_kl(index, teacher, context.mask, options, target, probe);
  });
}

at::Tensor latent_norm(const at::Tensor& x, const at::Tensor& gain,
                       const core::ModelConfig& config) {
  const core::ProfileScope scope("norms");
  const double eps = planted(Fault::kF130LatentNormEps) ? config.rms_norm_eps : kLatentNormEps;
  return ops::rms_norm(x, gain, eps);
}

at::Tensor key_norm(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias) {
  if (planted(Fault::kF103KeyNormIsRmsNorm)) {
    return ops::rms_norm(x, gain, kLatentNormEps).add(bias).to(x.scalar_type());
  }
  return ops::layer_norm(x, gain, bias,
                         planted(Fault::kF110KeyNormEps) ? 10 * kLatentNormEps : kLatentNormEps);
}

}  // namespace

Indexer Indexer::bind(const BoundWeights& weights, const std::string& prefix) {
  return {
      .wq_b = weights.linear(prefix + "wq_b.weight"),
      .wk = weights.linear(prefix + "wk.weight"),
      .k_norm_weight = weights.at(prefix + "k_norm.weight"),
      .k_norm_bias = weights.at(prefix + "k_norm.bias"),
      .weights_proj = weights.linear(prefix + "weights_proj.weight"),
  };
}

ops::IndexOperands Indexer::operands(const at::Tensor& x, const at::Tensor& q_latent,
                                     const ForwardContext& context,
                                     const tensors::Probe& probe) const {
  const core::ProfileScope scope("indexer projections");
  const std::int64_t heads = context.config.index_n_heads;
  const std::int64_t dim = context.config.index_head_dim;
  const at::Tensor q =
      ops::linear(q_latent, wq_b, context.dropout).view({x.size(0), x.size(1), heads, dim});
  const at::Tensor k = key_norm(ops::linear(x, wk, context.dropout), k_norm_weight, k_norm_bias);
  return {probe("q", ops::rotate_index_heads(q, context.table)),
          probe("k", ops::rotate_index_heads(k.unsqueeze(2), context.table).squeeze(2)),
          probe("weights", ops::index_head_weights(x, weights_proj, dim, context.dropout))};
}

at::Tensor Indexer::select(const ops::IndexOperands& operands, const ForwardContext& context,
                           const tensors::Probe& probe) {
  const at::NoGradGuard no_gradients;
  ops::IndexOperands scored = operands;
  if (context.hadamard) {
    scored.q = ops::hadamard(operands.q);
    scored.k = planted(Fault::kF102HadamardOnQueriesAlone) ? operands.k.to(scored.q.scalar_type())
                                                           : ops::hadamard(operands.k);
  }
  // One operation: scores exist tile by tile, and each tile goes into the choice at once.
  const at::Tensor chosen = core::profiled("index scores and top-k", [&] {
    return ops::select_keys(scored, context.mask, context.config.index_topk, probe);
  });
  const at::Tensor selected = probe("topk_indices", chosen);
  const bool as_is = selected.is_same(chosen) || planted(Fault::kF132ForcedKeysNotMasked);
  return as_is ? selected : ops::keep_visible(selected, context.mask);
}

Mla Mla::bind(const BoundWeights& weights, const std::string& prefix) {
  return {
      .q_a_proj = weights.linear(prefix + "q_a_proj.weight"),
      .q_a_layernorm = weights.at(prefix + "q_a_layernorm.weight"),
      .q_b_proj = weights.linear(prefix + "q_b_proj.weight"),
      .kv_a_proj_with_mqa = weights.linear(prefix + "kv_a_proj_with_mqa.weight"),
      .kv_a_layernorm = weights.at(prefix + "kv_a_layernorm.weight"),
      .kv_b_proj = weights.linear(prefix + "kv_b_proj.weight"),
      .o_proj = weights.linear(prefix + "o_proj.weight"),
      .indexer = Indexer::bind(weights, prefix + "indexer."),
  };
}

Mla::Indexed Mla::index(const at::Tensor& x, const at::Tensor& q_latent,
                        const ForwardContext& context, const tensors::Probe& probe) const {
  const bool selects = context.attention == core::AttentionMode::kSparse || probe.wants("scores") ||
                       probe.wants("topk_indices") || planted(Fault::kF104WarmUpOverTopk);
  if (!selects && !context.objective.kl) {
    return {};
  }
  // Only the KL loss reaches the indexer, the language model's never does (spec 4.2).
  const bool learns =
      context.objective.kl.has_value() || planted(Fault::kF26LmGradientReachesIndexer);
  const at::AutoGradMode recording(at::GradMode::is_enabled() && learns);
  const core::KlDetach detach =
      context.objective.kl ? context.objective.kl->detach : core::KlDetach::kBoth;
  const bool cut_x = detach == core::KlDetach::kBoth && !planted(Fault::kF24HiddenStateNotDetached);
  const bool cut_q = detach != core::KlDetach::kNone && !planted(Fault::kF25QueryLatentNotDetached);
  Indexed indexed;
  const bool raw = planted(Fault::kF101IndexerReadsUnnormedLatent);
  const at::Tensor latent = raw ? ops::linear(x, q_a_proj, context.dropout) : q_latent;
  indexed.operands =
      indexer.operands(cut_x ? x.detach() : x, cut_q ? latent.detach() : latent, context, probe);
  if (selects) {
    indexed.selected = Indexer::select(indexed.operands, context, probe);
  }
  return indexed;
}

at::Tensor Mla::forward(const at::Tensor& x, const ForwardContext& context,
                        const tensors::Probe& probe, LayerLosses& losses) const {
  const core::ModelConfig& config = context.config;
  const std::int64_t batch = x.size(0);
  const std::int64_t tokens = x.size(1);
  const std::int64_t rank = config.kv_lora_rank;
  const tensors::Probe inner = probe.scope("self_attn");
  const core::ProfileScope scope("attention projections");

  const at::Tensor q_latent =
      inner("q_a_layernorm",
            latent_norm(ops::linear(x, q_a_proj, context.dropout), q_a_layernorm, config));
  const at::Tensor kv_a = ops::linear(x, kv_a_proj_with_mqa, context.dropout);
  const at::Tensor kv =
      inner("kv_a_layernorm", latent_norm(kv_a.narrow(-1, 0, rank), kv_a_layernorm, config));
  const at::Tensor q_flat = ops::linear(q_latent, q_b_proj, context.dropout);
  const at::Tensor q = inner(
      "q",
      rotate_queries(q_flat.view({batch, tokens, config.num_attention_heads, config.qk_head_dim()}),
                     context));
  const at::Tensor k_rot =
      inner("k_rot", rotate_keys(kv_a.narrow(-1, rank, config.qk_rope_head_dim), context));

  const ops::AttentionOperands operands{
      .q_nope = q.narrow(-1, 0, config.qk_nope_head_dim),
      .q_rot = q.narrow(-1, config.qk_nope_head_dim, config.qk_rope_head_dim),
      .kv = kv,
      .k_rot = k_rot,
      .kv_b_proj = ops::effective_weight(kv_b_proj),
      .scale = ops::softmax_scale(config),
  };
  const Indexed indexed = index(x, q_latent, context, inner.scope("indexer"));
  const bool sparse = context.attention == core::AttentionMode::kSparse;
  const ops::AttentionResult attention = core::profiled("attention", [&] {
    return sparse ? ops::sparse_attention(operands, indexed.selected)
                  : ops::dense_attention(operands, context.mask);
  });
  inner("lse", attention.lse);
  at::Tensor output = inner("attn_output", attention.output);
  if (planted(Fault::kF26LmGradientReachesIndexer)) {
    const at::Tensor leak = indexed.operands.weights.sum();
    output = output.add(leak.sub(leak.detach()).to(output.scalar_type()));
  }
  if (context.objective.kl) {
    const ops::KlTeacher teacher{
        detached(operands), attention.lse.detach(),
        sparse || planted(Fault::kF104WarmUpOverTopk) ? indexed.selected : at::Tensor()};
    const ops::IndexerKl kl = teach(indexed.operands, teacher, context, inner.scope("indexer"));
    losses.kl = kl.sum;
    losses.kl_rows = kl.rows;
  }
  return probe("self_attn",
               ops::linear(output.reshape({batch, tokens, -1}), o_proj, context.dropout));
}

}  // namespace sparity::model
