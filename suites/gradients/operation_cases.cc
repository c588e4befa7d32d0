#include "suites/gradients/operation_cases.h"

#include "reference/model/attention.h"
#include "reference/model/indexer.h"
#include "reference/model/mask.h"
#include "reference/model/moe.h"
#include "reference/model/rope.h"
#include "src/ops/attention.h"
#include "src/ops/moe.h"
#include "src/ops/rope.h"
#include "src/tensors/at_dtype.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <string>

namespace sparity::suites::gradients {

namespace {

using cases::Case;
using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;
using core::AttentionMode;

namespace reference = sparity::reference::model;

constexpr std::int64_t kRows = 2;
constexpr std::int64_t kPadded = 9;
/// No smaller: the error of a sum of few terms scatters more than a ratio of two errors allows.
constexpr std::int64_t kHeads = 3;
constexpr std::int64_t kNope = 12;
constexpr std::int64_t kRope = 6;
constexpr std::int64_t kRank = 18;
constexpr std::int64_t kValues = 10;

struct Problem {
  std::int64_t tokens;
  std::int64_t k;       // keys that a query selects
  double spread = 1.0;  // of the queries: large makes attention peaked
  bool narrow = false;  // the last query sees few keys and its own, so that each weighs much
};

tensors::Inputs as_inputs(const at::Tensor& token_mask, const at::Tensor& pair_mask) {
  tensors::Inputs inputs;
  inputs.token_mask = token_mask;
  inputs.pair_mask = pair_mask;
  inputs.input_ids = token_mask.to(at::kLong);
  return inputs;
}

/// Two rows of tokens, the second padded on the left; selected are the top of random scores.
TensorMap inputs_of(const SuiteContext& context, const Problem& problem) {
  const std::int64_t t = problem.tokens;
  const auto normal = [&](const std::string& name, at::IntArrayRef shape) {
    return context.normal("gradients.attention." + name, shape);
  };
  at::Tensor tokens = at::ones({kRows, t}, at::kBool);
  tokens[1].narrow(0, 0, kPadded).fill_(false);
  at::Tensor pairs = at::ones({kRows, t, t}, at::kBool);
  if (problem.narrow) {
    pairs.select(1, t - 1).narrow(1, kPadded + 3, t - kPadded - 4).fill_(false);
  }
  const at::Tensor valid = reference::valid_pairs(as_inputs(tokens, pairs));
  const at::Tensor scores =
      normal("draw", valid.sizes())
          .to(at::kDouble)
          .masked_fill(valid.logical_not(), -std::numeric_limits<double>::infinity());
  return {{"q", normal("q", {kRows, t, kHeads, kNope + kRope}).mul(problem.spread)},
          {"kv", normal("kv", {kRows, t, kRank})},
          {"k_rot", normal("k_rot", {kRows, t, kRope})},
          {"kv_b_proj", normal("kv_b_proj", {kHeads * (kNope + kValues), kRank})
                            .div(std::sqrt(static_cast<double>(kRank)))},
          {"cotangent", normal("cotangent", {kRows, t, kHeads, kValues})},
          {"tokens", tokens},
          {"pairs", pairs},
          {"selected", reference::topk_indices(scores, problem.k)}};
}

/// The differentiable inputs, as leaves.
struct Leaves {
  at::Tensor q;
  at::Tensor kv;
  at::Tensor k_rot;
  at::Tensor kv_b_proj;

  explicit Leaves(const TensorMap& in)
      : q(leaf(in.at("q"))),
        kv(leaf(in.at("kv"))),
        k_rot(leaf(in.at("k_rot"))),
        kv_b_proj(leaf(in.at("kv_b_proj"))) {}

  /// Gradients of Σ output · cotangent; those of keys first, which take part in most sums.
  Outputs gradients(const at::Tensor& output, const TensorMap& in) const {
    const std::vector<at::Tensor> found = torch::autograd::grad(
        {output}, {k_rot, kv, q, kv_b_proj}, {in.at("cotangent").to(output.scalar_type())});
    return {{"grad.k_rot", found[0]},
            {"grad.kv", found[1]},
            {"grad.q", found[2]},
            {"grad.kv_b_proj", found[3]}};
  }

 private:
  static at::Tensor leaf(const at::Tensor& value) { return value.detach().requires_grad_(true); }
};

Outputs run_reference(const SuiteContext& context, const TensorMap& in, AttentionMode mode) {
  const at::AutoGradMode recording(true);
  const Leaves leaves(in);
  const at::Tensor& tokens = in.at("tokens");
  const at::Tensor support = mode == AttentionMode::kSparse
                                 ? reference::support(in.at("selected"), tokens.size(1))
                                 : reference::valid_pairs(as_inputs(tokens, in.at("pairs")));
  return leaves.gradients(
      reference::mla(leaves.q, leaves.kv, leaves.k_rot, leaves.kv_b_proj, support,
                     reference::softmax_scale(context.config()), context.options().recipe)
          .output,
      in);
}

Outputs run_candidate(const SuiteContext& context, const TensorMap& in, AttentionMode mode) {
  const at::AutoGradMode recording(true);
  const Leaves leaves(in);
  const ops::AttentionOperands operands{.q_nope = leaves.q.narrow(-1, 0, kNope),
                                        .q_rot = leaves.q.narrow(-1, kNope, kRope),
                                        .kv = leaves.kv,
                                        .k_rot = leaves.k_rot,
                                        .kv_b_proj = leaves.kv_b_proj,
                                        .scale = ops::softmax_scale(context.config())};
  return leaves.gradients(
      mode == AttentionMode::kSparse
          ? ops::sparse_attention(operands, in.at("selected")).output
          : ops::dense_attention(operands, ops::KeyMask(in.at("tokens"), in.at("pairs"))).output,
      in);
}

Case attention_case(const std::string& name, AttentionMode mode, const Problem& problem) {
  return cases::op_case({
      .suite = "gradients",
      .name = "of_" + std::string(core::to_string(mode)) + "_attention_" + name,
      .inputs = [problem](const SuiteContext& context) { return inputs_of(context, problem); },
      .reference = [mode](const SuiteContext& context,
                          const TensorMap& in) { return run_reference(context, in, mode); },
      .candidate = [mode](const SuiteContext& context,
                          const TensorMap& in) { return run_candidate(context, in, mode); },
      .direction = judge::Direction::kBackward,
  });
}

// --- routed experts with as many tokens as fill their tiles, one less and one more ---------------

constexpr std::int64_t kTile = 64;
constexpr std::int64_t kWidth = 24;
constexpr std::int64_t kInner = 18;
constexpr std::int64_t kExperts = 5;

/// 128, 65, 63, 64 and 64 tokens for five experts.
TensorMap expert_inputs(const SuiteContext& context) {
  const auto normal = [&](const std::string& name, at::IntArrayRef shape) {
    return context.normal("gradients.experts." + name, shape);
  };
  const at::Tensor token = at::arange(2 * kTile, at::kLong);
  const at::Tensor slots = at::stack({at::zeros_like(token), token.gt(kTile).to(at::kLong).add(1),
                                      token.ge(kTile).to(at::kLong).add(3)},
                                     1);
  const at::Tensor weights = normal("weights", {kRows, kTile, 3}).abs().add(0.1);
  return {{"x", normal("x", {kRows, kTile, kWidth})},
          {"indices", slots.view({kRows, kTile, 3})},
          {"weights", weights.to(tensors::at_least_f32(context.activation()))},
          {"gate", normal("gate", {kExperts, kInner, kWidth}).mul(0.2)},
          {"up", normal("up", {kExperts, kInner, kWidth}).mul(0.2)},
          {"down", normal("down", {kExperts, kWidth, kInner}).mul(0.2)},
          {"cotangent", normal("cotangent", {kRows, kTile, kWidth})}};
}

/// Gradients of Σ output · cotangent, where `run(x, weights, experts)` is a side's operation.
template <typename Mlp, typename Run>
Outputs expert_gradients(const TensorMap& in, Run run) {
  const at::AutoGradMode recording(true);
  std::vector<at::Tensor> leaves;
  for (const char* name : {"x", "weights", "gate", "up", "down"}) {
    leaves.push_back(in.at(name).detach().requires_grad_(true));
  }
  std::vector<Mlp> experts;
  for (std::int64_t e = 0; e < kExperts; ++e) {
    experts.push_back(Mlp{leaves[2][e], leaves[3][e], leaves[4][e]});
  }
  const at::Tensor output = run(leaves[0], leaves[1], experts);
  const std::vector<at::Tensor> found =
      torch::autograd::grad({output}, leaves, {in.at("cotangent").to(output.scalar_type())});
  return {{"grad.x", found[0]},
          {"grad.weights", found[1]},
          {"grad.gate_proj", found[2]},
          {"grad.up_proj", found[3]},
          {"grad.down_proj", found[4]}};
}

Case experts_case() {
  return cases::op_case({
      .suite = "gradients",
      .name = "of_experts_with_63_64_65_and_128_tokens",
      .inputs = expert_inputs,
      .reference =
          [](const SuiteContext& context, const TensorMap& in) {
            return expert_gradients<reference::MlpWeights>(
                in, [&](const at::Tensor& x, const at::Tensor& weights, const auto& experts) {
                  return reference::routed_experts(x, in.at("indices"), weights, experts,
                                                   context.options().recipe);
                });
          },
      .candidate =
          [](const SuiteContext&, const TensorMap& in) {
            return expert_gradients<ops::MlpWeights>(
                in, [&](const at::Tensor& x, const at::Tensor& weights, const auto& experts) {
                  return ops::routed_experts(x, {in.at("indices"), weights}, experts);
                });
          },
      .from_rounded = {"grad.weights"},
      .direction = judge::Direction::kBackward,
  });
}

}  // namespace

std::vector<Case> operation_cases() {
  std::vector<Case> all = {experts_case()};
  // A second tile of keys, and a third, of one key each.
  for (const std::int64_t tokens : {257, 513}) {
    all.push_back(attention_case(fmt::format("of_{}_tokens", tokens), AttentionMode::kDense,
                                 {.tokens = tokens, .k = 11, .narrow = true}));
  }
  for (const AttentionMode mode : {AttentionMode::kSparse, AttentionMode::kDense}) {
    // 64 queries and 256 keys are a tile, and eight tiles at a time have sums of their own.
    all.push_back(attention_case("in_several_tiles", mode, {.tokens = 587, .k = 11}));
    // A saved log-sum-exp that is narrower than f32(A) shows where it is large.
    all.push_back(attention_case("peaked", mode, {.tokens = 75, .k = 11, .spread = 3}));
  }
  return all;
}

}  // namespace sparity::suites::gradients
