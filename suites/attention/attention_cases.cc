#include "suites/attention/attention_cases.h"

#include "reference/model/attention.h"
#include "reference/model/indexer.h"
#include "reference/model/mask.h"
#include "reference/model/rope.h"
#include "reference/scalar/attention.h"
#include "src/ops/attention.h"
#include "src/ops/rope.h"
#include "suites/attention/layer_cases.h"
#include "suites/attention/masked_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <span>
#include <utility>

namespace sparity::suites {

namespace {

using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

namespace reference = sparity::reference::model;
namespace scalar = sparity::reference::scalar;

constexpr const char* kLse = "self_attn.lse";
constexpr const char* kOutput = "self_attn.attn_output";
/// Exact zeros are claimed of these rows.
constexpr const char* kEmptyRows = "self_attn.attn_output of rows without a key";

/// Head sizes; 0 stands for the config's, whose kv_b_proj of layer 0 is then used.
struct HeadSizes {
  std::int64_t heads = 0;
  std::int64_t nope = 0;
  std::int64_t rope = 0;
  std::int64_t rank = 0;
  std::int64_t value = 0;
};
/// No smaller: the error of a sum of few terms scatters more than a ratio of two errors allows.
constexpr HeadSizes kSmallHeads = {.heads = 3, .nope = 12, .rope = 6, .rank = 18, .value = 10};

HeadSizes sizes_of(const SuiteContext& context, const HeadSizes& asked) {
  const core::ModelConfig& config = context.config();
  return asked.heads > 0 ? asked
                         : HeadSizes{.heads = config.num_attention_heads,
                                     .nope = config.qk_nope_head_dim,
                                     .rope = config.qk_rope_head_dim,
                                     .rank = config.kv_lora_rank,
                                     .value = config.v_head_dim};
}

/// Which keys a side attends to, and how it is told.
enum class Keys {
  kSelected,  // k random visible keys, by index
  kVisible,   // every visible key, by mask
};

/// One problem. The candidate and the reference may be told its keys in different ways, as long as
/// they are the same keys.
struct Problem {
  std::vector<std::int64_t> lengths;
  std::int64_t tokens = 0;
  std::int64_t k = 0;  // keys listed in the indices; tokens or more lists every visible key
  HeadSizes sizes = {};
  double spread = 1.0;  // of the queries: large makes attention peaked, small uniform
  bool large = false;   // adds ±large_logit() to every logit of a head, its sign by head
  bool holes = false;   // a pair mask on top, with rows that it empties
  bool narrow = false;  // the last query sees the first keys and its own, so that each weighs much
  Keys candidate = Keys::kSelected;
  Keys reference = Keys::kSelected;

  std::int64_t batch() const { return static_cast<std::int64_t>(lengths.size()); }
};

tensors::Inputs inputs_of(const SuiteContext& context, const Problem& problem) {
  tensors::Inputs inputs = masked_rows(problem.lengths, problem.tokens);
  if (problem.holes) {
    inputs.pair_mask =
        context.normal("attention.pairs", {problem.batch(), problem.tokens, problem.tokens}) > -0.3;
    inputs.pair_mask.slice(1, 0, problem.tokens, 5).fill_(false);
  }
  if (problem.narrow) {
    inputs.pair_mask = at::ones({problem.batch(), problem.tokens, problem.tokens}, at::kBool);
    inputs.pair_mask.select(1, problem.tokens - 1).slice(1, 3, problem.tokens - 1).fill_(false);
  }
  return inputs;
}

/// k visible keys of each query, drawn at random, −1 after the last.
at::Tensor drawn_indices(const SuiteContext& context, const Problem& problem) {
  const at::Tensor valid = reference::valid_pairs(inputs_of(context, problem));
  return reference::topk_indices(
      context.normal("attention.draw", valid.sizes())
          .to(at::kDouble)
          .masked_fill(valid.logical_not(), -std::numeric_limits<double>::infinity()),
      problem.k);
}

at::Tensor up_projection(const SuiteContext& context, const Problem& problem) {
  if (problem.sizes.heads == 0) {
    return context.weights().at("model.layers.0.self_attn.kv_b_proj.weight");
  }
  const HeadSizes& s = problem.sizes;
  return context.normal("attention.kv_b_proj", {s.heads * (s.nope + s.value), s.rank})
      .div(std::sqrt(static_cast<double>(s.rank)));
}

/// A logit whose exponential overflows in f32(A), while that of its opposite vanishes. No larger,
/// and the same whatever the config's softmax scale: its roundings, u · |logit| each, are the error
/// of a softmax, and the claim's bound, 64 · √K · u, knows nothing of them.
double large_logit(const SuiteContext& context) {
  const bool wide = context.activation() == at::kDouble;
  return 1.25 * std::log(wide ? std::numeric_limits<double>::max()
                              : static_cast<double>(std::numeric_limits<float>::max()));
}

TensorMap operands_of(const SuiteContext& context, const Problem& problem) {
  const HeadSizes s = sizes_of(context, problem.sizes);
  const std::int64_t b = problem.batch();
  const std::int64_t t = problem.tokens;
  at::Tensor q =
      context.normal("attention.q", {b, t, s.heads, s.nope + s.rope}).mul(problem.spread);
  at::Tensor k_rot = context.normal("attention.k_rot", {b, t, s.rope + 1}).narrow(-1, 1, s.rope);
  if (problem.large) {
    const double offset =
        std::sqrt(large_logit(context) / reference::softmax_scale(context.config()));
    q.select(-1, s.nope).fill_(offset);
    q.slice(2, 1, s.heads, 2).select(-1, s.nope).fill_(-offset);
    k_rot.select(-1, 0).fill_(offset);
  }
  return {{"q", q},
          {"kv", context.normal("attention.kv", {b, t, s.rank})},
          {"k_rot", k_rot},
          {"kv_b_proj", up_projection(context, problem)},
          {"indices", drawn_indices(context, problem)}};
}

at::Tensor support_of(const SuiteContext& context, const Problem& problem, const TensorMap& in) {
  return problem.reference == Keys::kSelected ? reference::support(in.at("indices"), problem.tokens)
                                              : reference::valid_pairs(inputs_of(context, problem));
}

/// The results as outputs; rows without a key once more, on their own.
Outputs outputs_of(const at::Tensor& lse, const at::Tensor& output, const at::Tensor& support) {
  Outputs outputs = {{kLse, lse}, {kOutput, output}};
  const at::Tensor empty = support.any(-1).logical_not();  // [B, S]
  if (empty.any().item<bool>()) {
    outputs.emplace_back(kEmptyRows, output.flatten(2).masked_select(empty.unsqueeze(-1)));
  }
  return outputs;
}

Outputs run_reference(const SuiteContext& context, const Problem& problem, const TensorMap& in) {
  const at::Tensor support = support_of(context, problem, in);
  const reference::Attended attended =
      reference::mla(in.at("q"), in.at("kv"), in.at("k_rot"), in.at("kv_b_proj"), support,
                     reference::softmax_scale(context.config()), context.options().recipe);
  return outputs_of(attended.lse, attended.output, support);
}

Outputs run_candidate(const SuiteContext& context, const Problem& problem, const TensorMap& in) {
  const at::Tensor& q = in.at("q");
  const std::int64_t rope = in.at("k_rot").size(2);
  const ops::AttentionOperands operands{.q_nope = q.narrow(-1, 0, q.size(3) - rope),
                                        .q_rot = q.narrow(-1, q.size(3) - rope, rope),
                                        .kv = in.at("kv"),
                                        .k_rot = in.at("k_rot"),
                                        .kv_b_proj = in.at("kv_b_proj"),
                                        .scale = ops::softmax_scale(context.config())};
  const ops::AttentionResult result =
      problem.candidate == Keys::kSelected
          ? ops::sparse_attention(operands, in.at("indices"))
          : ops::dense_attention(operands, ops::KeyMask(inputs_of(context, problem)));
  return outputs_of(result.lse, result.output, support_of(context, problem, in));
}

using Run = Outputs (*)(const SuiteContext&, const Problem&, const TensorMap&);

cases::Case attention_case(const std::string& name, Problem problem,
                           Run run_truth_and_baseline = run_reference, Run run = run_candidate) {
  return cases::op_case({
      .suite = "attention",
      .name = name,
      .inputs = [problem](const SuiteContext& context) { return operands_of(context, problem); },
      .reference =
          [problem, run_truth_and_baseline](const SuiteContext& context, const TensorMap& in) {
            return run_truth_and_baseline(context, problem, in);
          },
      .candidate = [problem, run](const SuiteContext& context,
                                  const TensorMap& in) { return run(context, problem, in); },
      .exact = {kEmptyRows},
      .from_rounded = {kLse},
  });
}

/// Keys and values of every head, from the latent: [B, T, H, Dn+Dr] and [B, T, H, Dv].
struct ExpandedKeys {
  at::Tensor k;
  at::Tensor v;
};

ExpandedKeys expanded(const TensorMap& in) {
  const std::int64_t heads = in.at("q").size(2);
  const std::int64_t rope = in.at("k_rot").size(2);
  const std::int64_t nope = in.at("q").size(3) - rope;
  const at::Tensor up = at::matmul(in.at("kv"), in.at("kv_b_proj").t()).unflatten(-1, {heads, -1});
  const at::Tensor shared = in.at("k_rot").unsqueeze(2).expand({-1, -1, heads, -1});
  return {at::cat({up.narrow(-1, 0, nope), shared}, -1), up.narrow(-1, nope, up.size(-1) - nope)};
}

/// Truth by plain loops over queries and heads; the baseline is the reference's own.
Outputs run_loops(const SuiteContext& context, const Problem& problem, const TensorMap& in) {
  const at::Tensor& q = in.at("q");
  if (q.scalar_type() != at::kDouble) {
    return run_reference(context, problem, in);
  }
  const ExpandedKeys keys = expanded(in);
  const at::Tensor support = support_of(context, problem, in).to(at::kByte).contiguous();
  const std::int64_t values = keys.v.size(3);
  at::Tensor output = at::empty({q.size(0), q.size(1), q.size(2), values}, at::kDouble);
  at::Tensor lse = at::empty({q.size(0), q.size(1), q.size(2)}, at::kDouble);
  const auto span_of = [](const at::Tensor& tensor) {
    return std::span(tensor.const_data_ptr<double>(), static_cast<std::size_t>(tensor.numel()));
  };
  const double scale = reference::softmax_scale(context.config());
  for (std::int64_t row = 0; row < q.size(0) * q.size(1) * q.size(2); ++row) {
    const std::int64_t h = row % q.size(2);
    const std::int64_t s = row / q.size(2) % q.size(1);
    const std::int64_t b = row / q.size(2) / q.size(1);
    const at::Tensor k_head = keys.k[b].select(1, h).contiguous();
    const at::Tensor v_head = keys.v[b].select(1, h).contiguous();
    const at::Tensor supported = support[b][s];
    const scalar::AttendedRow attended = scalar::masked_attention(
        span_of(q[b][s][h]), span_of(k_head), span_of(v_head),
        {supported.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(problem.tokens)},
        scale);
    lse.mutable_data_ptr<double>()[row] = attended.lse;
    std::ranges::copy(attended.output, output.mutable_data_ptr<double>() + row * values);
  }
  return outputs_of(lse, output, support_of(context, problem, in));
}

/// The candidate is told the same keys in the opposite order, so that −1 comes first.
Outputs run_on_reversed_indices(const SuiteContext& context, const Problem& problem,
                                const TensorMap& in) {
  TensorMap reversed = in;
  reversed["indices"] = in.at("indices").flip(-1);
  return run_candidate(context, problem, reversed);
}

}  // namespace

std::vector<cases::Case> attention_cases() {
  const std::vector<std::int64_t> two_rows = {37, 24};
  std::vector<cases::Case> all = {
      attention_case("selected_keys", {.lengths = two_rows, .tokens = 37, .k = 12}),
      attention_case("selected_keys_by_scalar_loops",
                     {.lengths = {19, 11}, .tokens = 19, .k = 6, .sizes = kSmallHeads}, run_loops),
      attention_case("visible_keys", {.lengths = two_rows,
                                      .tokens = 37,
                                      .k = 12,
                                      .candidate = Keys::kVisible,
                                      .reference = Keys::kVisible}),
      attention_case("visible_keys_by_scalar_loops",
                     {.lengths = {19, 11},
                      .tokens = 19,
                      .k = 6,
                      .sizes = kSmallHeads,
                      .candidate = Keys::kVisible,
                      .reference = Keys::kVisible},
                     run_loops),
      attention_case("selecting_every_key_is_dense_attention",
                     {.lengths = two_rows, .tokens = 37, .k = 40, .reference = Keys::kVisible}),
      attention_case("dense_attention_is_selecting_every_key",
                     {.lengths = two_rows, .tokens = 37, .k = 37, .candidate = Keys::kVisible}),
      attention_case("one_key_each", {.lengths = two_rows, .tokens = 37, .k = 1}),
      attention_case("the_order_of_selected_keys_does_not_matter",
                     {.lengths = two_rows, .tokens = 37, .k = 12}, run_reference,
                     run_on_reversed_indices),
      attention_case("rows_without_keys_give_exact_zeros",
                     {.lengths = {21, 0, 5}, .tokens = 21, .k = 4, .sizes = kSmallHeads}),
      attention_case("rows_without_visible_keys_give_exact_zeros", {.lengths = {21, 0, 5},
                                                                    .tokens = 21,
                                                                    .k = 4,
                                                                    .sizes = kSmallHeads,
                                                                    .candidate = Keys::kVisible,
                                                                    .reference = Keys::kVisible}),
  };
  for (const Keys keys : {Keys::kSelected, Keys::kVisible}) {
    const std::string kind = keys == Keys::kSelected ? "selected" : "visible";
    const auto add = [&](const std::string& name, Problem problem) {
      if (problem.sizes.heads == 0) {
        problem.sizes = kSmallHeads;
      }
      problem.candidate = problem.reference = keys;
      all.push_back(attention_case(kind + "_keys_" + name, problem));
    };
    add("under_a_pair_mask", {.lengths = {43, 31}, .tokens = 43, .k = 9, .holes = true});
    add("in_several_tiles", {.lengths = {290}, .tokens = 290, .k = 20});
    add("peaked", {.lengths = {33, 20}, .tokens = 33, .k = 9, .spread = 3});
    // Their exponentials overflow, or all vanish, unless the largest logit is taken off first.
    add("with_large_logits", {.lengths = {33, 20}, .tokens = 33, .k = 9, .large = true});
    // Heads come in blocks of eight and sixteen; keys of dense attention in tiles of 256.
    for (const std::int64_t heads : {9, 17}) {
      HeadSizes sizes = kSmallHeads;
      sizes.heads = heads;
      add(fmt::format("of_{}_heads", heads),
          {.lengths = {33, 20}, .tokens = 33, .k = 9, .sizes = sizes});
    }
    for (const std::int64_t tokens : {257, 513}) {
      add(fmt::format("of_{}_tokens", tokens),
          {.lengths = {tokens}, .tokens = tokens, .k = 4, .narrow = true});
    }
    add("near_uniform", {.lengths = {33, 20}, .tokens = 33, .k = 9, .spread = 1e-3});
  }
  std::ranges::move(attention_layer_cases(), std::back_inserter(all));
  return all;
}

}  // namespace sparity::suites
