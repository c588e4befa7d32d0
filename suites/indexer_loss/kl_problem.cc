#include "suites/indexer_loss/kl_problem.h"

#include "reference/model/attention.h"
#include "reference/model/indexer.h"
#include "reference/model/mask.h"
#include "reference/model/rope.h"
#include "reference/train/indexer_loss.h"
#include "src/ops/rope.h"
#include "src/tensors/at_dtype.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>
#include <utility>

namespace sparity::suites::indexer_loss {

namespace {

using cases::Case;
using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;
using core::AttentionMode;
using core::KlOptions;

namespace reference = sparity::reference;

constexpr std::int64_t kRows = 2;
constexpr std::int64_t kPadded = 5;

/// Gradients of a sum over rows; zeros where it doesn't depend on an operand.
std::vector<at::Tensor> gradients_of(const at::Tensor& sum, const std::vector<at::Tensor>& leaves) {
  return torch::autograd::grad({sum}, leaves);
}

void append(Outputs& outputs, const std::vector<at::Tensor>& gradients) {
  outputs.emplace_back("grad.index_q", gradients[0]);
  outputs.emplace_back("grad.index_k", gradients[1]);
  outputs.emplace_back("grad.index_weights", gradients[2]);
}

at::Tensor leaf(const at::Tensor& value) { return value.detach().requires_grad_(true); }

tensors::Inputs as_inputs(const TensorMap& in) {
  tensors::Inputs inputs;
  inputs.token_mask = in.at("token_mask");
  inputs.input_ids = inputs.token_mask.to(at::kLong);
  return inputs;
}

}  // namespace

TensorMap kl_inputs(const SuiteContext& context, std::int64_t tokens, std::int64_t selected) {
  const core::ModelConfig& c = context.config();
  const auto normal = [&](const char* name, at::IntArrayRef shape) {
    return context.normal(std::string("indexer_loss.") + name, shape);
  };
  TensorMap in;
  // Multiples of 1/8, whose products no dtype rounds: a dot product near the kink of ReLU has one
  // sign on every side, or the gradients would differ by a whole term.
  const auto eighths = [](const at::Tensor& x) { return x.mul(8).round().div(8); };
  in["index_q"] = eighths(normal("index_q", {kRows, tokens, c.index_n_heads, c.index_head_dim}));
  in["index_k"] = eighths(normal("index_k", {kRows, tokens, c.index_head_dim}));
  in["index_weights"] = normal("index_weights", {kRows, tokens, c.index_n_heads})
                            .to(tensors::at_least_f32(context.activation()))
                            .mul(0.05);
  in["q_nope"] = normal("q_nope", {kRows, tokens, c.num_attention_heads, c.qk_nope_head_dim});
  in["q_rot"] = normal("q_rot", {kRows, tokens, c.num_attention_heads, c.qk_rope_head_dim});
  in["kv"] = normal("kv", {kRows, tokens, c.kv_lora_rank});
  in["k_rot"] = normal("k_rot", {kRows, tokens, c.qk_rope_head_dim});
  in["kv_b_proj"] =
      normal("kv_b_proj",
             {c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank})
          .mul(0.3);
  in["token_mask"] = at::ones({kRows, tokens}, at::kBool);
  in["token_mask"][1].narrow(0, 0, kPadded).fill_(false);
  const at::Tensor valid = reference::model::valid_pairs(as_inputs(in));
  const at::Tensor scores =
      normal("selection", {kRows, tokens, tokens})
          .to(at::kDouble)
          .masked_fill(valid.logical_not(), -std::numeric_limits<double>::infinity());
  in["selected"] = reference::model::topk_indices(scores, selected);
  return in;
}

CandidateProblem candidate_problem(const SuiteContext& context, const TensorMap& in,
                                   AttentionMode mode) {
  const ops::AttentionOperands operands{in.at("q_nope"),    in.at("q_rot"),
                                        in.at("kv"),        in.at("k_rot"),
                                        in.at("kv_b_proj"), ops::softmax_scale(context.config())};
  CandidateProblem problem{
      ops::KeyMask(in.at("token_mask"), {}),
      {leaf(in.at("index_q")), leaf(in.at("index_k")), leaf(in.at("index_weights"))},
      {operands, {}, {}}};
  const bool sparse = mode == AttentionMode::kSparse;
  problem.teacher.lse = sparse ? ops::sparse_attention(operands, in.at("selected")).lse
                               : ops::dense_attention(operands, problem.mask).lse;
  if (sparse) {
    problem.teacher.selected = in.at("selected");
  }
  return problem;
}

std::vector<at::Tensor> candidate_gradients(const CandidateProblem& problem,
                                            const KlOptions& options, const at::Tensor& target) {
  const at::AutoGradMode recording(true);
  return gradients_of(
      ops::indexer_kl(problem.index, problem.teacher, problem.mask, options, target).sum,
      {problem.index.q, problem.index.k, problem.index.weights});
}

Outputs candidate_kl(const SuiteContext& context, const TensorMap& in, AttentionMode mode,
                     const KlOptions& options) {
  const CandidateProblem problem = candidate_problem(context, in, mode);
  const ops::IndexerKl kl = ops::indexer_kl(problem.index, problem.teacher, problem.mask, options);
  Outputs outputs = {{"kl_target", ops::kl_target(problem.teacher, problem.mask, options)},
                     {"kl_rows", kl.rows}};
  append(outputs, candidate_gradients(problem, options));
  return outputs;
}

Outputs reference_kl(const SuiteContext& context, const TensorMap& in, AttentionMode mode,
                     const KlOptions& options) {
  const at::AutoGradMode recording(true);
  const core::ModelConfig& c = context.config();
  // The truth rounds nothing, whatever the options would round to.
  const at::ScalarType activation = in.at("q_nope").scalar_type();
  const at::Tensor valid = reference::model::valid_pairs(as_inputs(in));
  const at::Tensor support =
      mode == AttentionMode::kSparse
          ? reference::model::support(in.at("selected"), valid.size(2)).logical_and(valid)
          : valid;
  const reference::train::RowKeys keys{support, valid};
  const reference::model::ExpandedKeys expanded = reference::model::expand_keys(
      in.at("kv"), in.at("k_rot"), in.at("kv_b_proj"), c.num_attention_heads, c.qk_nope_head_dim);
  const at::Tensor target =
      reference::train::kl_target(at::cat({in.at("q_nope"), in.at("q_rot")}, -1), expanded.k,
                                  reference::model::softmax_scale(c), keys, options, activation);
  const at::Tensor q = leaf(in.at("index_q"));
  const at::Tensor k = leaf(in.at("index_k"));
  const at::Tensor weights = leaf(in.at("index_weights"));
  const at::Tensor rows = reference::train::kl_rows(
      target, reference::model::index_scores(q, k, weights, valid), keys, options, activation);
  Outputs outputs = {{"kl_target", target}, {"kl_rows", rows.detach()}};
  append(outputs, gradients_of(rows.sum(), {q, k, weights}));
  return outputs;
}

Case kl_case(const std::string& name, AttentionMode mode, const KlOptions& options,
             const Change& change) {
  return cases::op_case({
      .suite = "indexer_loss",
      .name = name,
      .inputs =
          [change](const SuiteContext& context) {
            TensorMap in = kl_inputs(context, kTokens, kSelected);
            if (change) {
              change(context, in);
            }
            return in;
          },
      .reference = [=](const SuiteContext& context,
                       const TensorMap& in) { return reference_kl(context, in, mode, options); },
      .candidate = [=](const SuiteContext& context,
                       const TensorMap& in) { return candidate_kl(context, in, mode, options); },
      .from_rounded = {"kl_target", "kl_rows", "grad.index_weights"},
  });
}

}  // namespace sparity::suites::indexer_loss
