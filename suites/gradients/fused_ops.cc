#include "suites/gradients/fused_ops.h"

#include "src/ops/attention.h"
#include "src/ops/balance.h"
#include "src/ops/indexer.h"
#include "src/ops/indexer_kl.h"
#include "src/ops/linear.h"
#include "src/ops/loss.h"
#include "src/ops/mlp.h"
#include "src/ops/moe.h"
#include "src/ops/norm.h"
#include "src/ops/rope.h"
#include "src/tensors/at_dtype.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>

#include <utility>

namespace sparity::suites::gradients {

namespace {

using cases::SuiteContext;
using Tensors = std::vector<at::Tensor>;

constexpr std::int64_t kRows = 2;
constexpr std::int64_t kTokens = 37;
/// Attention works on 64 queries and 256 keys at a time: this many make several tiles of both, the
/// last ones partly filled, and more tiles than the backward pass has separate sums.
constexpr std::int64_t kManyTokens = 587;
/// Gains and biases gather gradients from 64 rows at a time: three parts, the last one partly
/// filled.
constexpr std::int64_t kNormTokens = 83;
constexpr double kEps = 1e-5;
/// An attention factor: with one, a rotation's inverse is not its transpose.
constexpr double kTableFactor = 1.25;

/// What decides the shapes of attention.
struct HeadSizes {
  std::int64_t heads;
  std::int64_t nope;
  std::int64_t rope;
  std::int64_t rank;
  std::int64_t values;
};

/// Makes the operations of one context in one dtype.
class Maker {
 public:
  Maker(const SuiteContext& context, at::ScalarType type)
      : context_(context), config_(context.config()), type_(type) {}

  Tensors normal(const std::string& op, const std::vector<std::vector<std::int64_t>>& shapes) {
    Tensors made;
    for (const std::vector<std::int64_t>& shape : shapes) {
      made.push_back(
          context_.normal("gradients." + op + std::to_string(made.size()), shape).to(type_));
    }
    return made;
  }

  std::vector<FusedOp> norms() {
    const std::int64_t width = config_.hidden_size;
    const std::vector<std::int64_t> x = {kRows, kNormTokens, width};
    return {
        {"rms_norm", normal("rms_norm", {x, {width}}),
         [](const Tensors& in) { return ops::rms_norm(in[0], in[1], kEps); }},
        {"add_rms_norm", normal("add_rms_norm", {x, x, {width}}),
         [](const Tensors& in) {
           const ops::NormedResidual both = ops::add_rms_norm(in[0], in[1], in[2], kEps);
           return at::cat({both.normed, both.residual}, -1);
         }},
        // Nobody asks for the norm: its gradient does not arrive.
        {"add_rms_norm.stream_alone", normal("add_rms_norm.stream_alone", {x, x}),
         [gain = normal("rms_norm.gain", {{width}})[0]](const Tensors& in) {
           return ops::add_rms_norm(in[0], in[1], gain, kEps).residual;
         }},
        {"layer_norm", normal("layer_norm", {x, {width}, {width}}),
         [](const Tensors& in) { return ops::layer_norm(in[0], in[1], in[2], kEps); }},
    };
  }

  std::vector<FusedOp> rotations() {
    const at::Tensor positions =
        at::arange(kTokens, at::kLong).expand({kRows, kTokens}).contiguous();
    const ops::RotaryTable table{
        ops::rotary_table(config_, positions, type_).cos_sin.mul(kTableFactor)};
    const std::vector<std::int64_t> heads = {kRows, kTokens, config_.num_attention_heads,
                                             config_.qk_rope_head_dim};
    const std::vector<std::int64_t> index = {kRows, kTokens, 3, config_.index_head_dim};
    return {
        {"rotate_interleaved", normal("rotate_interleaved", {heads}),
         [=](const Tensors& in) { return ops::rotate_interleaved(in[0], table); }},
        {"rotate_index_heads", normal("rotate_index_heads", {index}),
         [=](const Tensors& in) { return ops::rotate_index_heads(in[0], table); }},
    };
  }

  FusedOp embedding() {
    const at::Tensor ids =
        at::arange(kRows * kTokens, at::kLong).mul(5).remainder(11).view({kRows, kTokens});
    return {"embedding", normal("embedding", {{11, config_.hidden_size}}),
            [=](const Tensors& in) { return ops::embedding(ids, in[0]); }};
  }

  /// Once with gates of either sign whose exponentials overflow.
  std::vector<FusedOp> swiglus() {
    const std::vector<std::int64_t> x = {kRows, kTokens, config_.moe_intermediate_size};
    const Tensors inputs = normal("swiglu", {x, x});
    const double large = type_ == at::kDouble ? 400.0 : 50.0;
    const auto run = [](const Tensors& in) { return ops::swiglu(in[0], in[1]); };
    return {{"swiglu", inputs, run},
            {"swiglu.large_gates", {inputs[0].mul(large), inputs[1]}, run}};
  }

  /// Six experts: the first gets most tokens, more than one matrix product covers, the last none.
  FusedOp experts(const std::string& suffix, std::int64_t tokens_a_row) {
    const std::int64_t width = config_.hidden_size;
    const std::int64_t inner = config_.moe_intermediate_size;
    std::vector<std::vector<std::int64_t>> shapes = {{kRows, tokens_a_row, width},
                                                     {kRows, tokens_a_row, 2}};
    for (int e = 0; e < 6; ++e) {
      shapes.insert(shapes.end(), {{inner, width}, {inner, width}, {width, inner}});
    }
    Tensors inputs = normal("experts" + suffix, shapes);
    inputs[1] = inputs[1].to(wide());
    for (std::size_t i = 2; i < inputs.size(); ++i) {
      inputs[i] = inputs[i].mul(0.2);
    }
    const at::Tensor token = at::arange(kRows * tokens_a_row, at::kLong);
    const at::Tensor first = token.remainder(37).eq(5).to(at::kLong);  // a few choose the second
    const at::Tensor second = token.remainder(3).add(2);
    const at::Tensor indices =
        at::cat({first.unsqueeze(1), second.unsqueeze(1)}, 1).view({kRows, tokens_a_row, 2});
    return {"routed_experts" + suffix, inputs, [=](const Tensors& in) {
              std::vector<ops::MlpWeights> experts;
              for (std::size_t i = 2; i < in.size(); i += 3) {
                experts.push_back({in[i], in[i + 1], in[i + 2]});
              }
              return ops::routed_experts(in[0], {indices, in[1]}, experts);
            }};
  }

  /// Row 0 of the second sequence attends to nothing, others to up to seven keys.
  std::vector<FusedOp> attentions(const std::string& suffix, std::int64_t tokens_a_row,
                                  const HeadSizes& sizes) {
    Tensors inputs =
        normal("attention" + suffix, {{kRows, tokens_a_row, sizes.heads, sizes.nope},
                                      {kRows, tokens_a_row, sizes.heads, sizes.rope},
                                      {kRows, tokens_a_row, sizes.rank},
                                      {kRows, tokens_a_row, sizes.rope},
                                      {sizes.heads * (sizes.nope + sizes.values), sizes.rank}});
    inputs[4] = inputs[4].mul(0.3);
    const double scale = ops::softmax_scale(config_);
    const auto operands = [=](const Tensors& in) {
      return ops::AttentionOperands{in[0], in[1], in[2], in[3], in[4], scale};
    };
    const at::Tensor query = at::arange(tokens_a_row, at::kLong).view({1, tokens_a_row, 1});
    const at::Tensor key = query.sub(at::arange(7, at::kLong).mul(3).view({1, 1, 7}));
    at::Tensor indices = key.masked_fill(key.lt(0), -1).expand({kRows, tokens_a_row, 7}).clone();
    indices[1][0].fill_(-1);
    at::Tensor tokens = at::ones({kRows, tokens_a_row}, at::kBool);
    tokens[1].narrow(0, 0, 9).fill_(false);
    return {
        {"sparse_attention" + suffix, inputs,
         [=](const Tensors& in) { return ops::sparse_attention(operands(in), indices).output; }},
        {"dense_attention" + suffix, inputs,
         [=](const Tensors& in) {
           return ops::dense_attention(operands(in), ops::KeyMask(tokens, {})).output;
         }},
    };
  }

  /// The KL loss of an indexer whose even heads' products are all positive and whose odd heads' all
  /// negative, so far from ReLU's kink that no step of a difference crosses it.
  FusedOp indexer_kl(const std::string& suffix, bool sparse) {
    const std::int64_t heads = config_.index_n_heads;
    const std::vector<std::int64_t> q = {kRows, kTokens, heads, config_.index_head_dim};
    Tensors inputs = normal("indexer_kl",
                            {q, {kRows, kTokens, config_.index_head_dim}, {kRows, kTokens, heads}});
    const at::Tensor sign = at::arange(heads, at::kLong).remainder(2).mul(-2).add(1).unsqueeze(1);
    inputs[0] = inputs[0].abs().add(0.5).mul(0.3).mul(sign.to(type_));
    inputs[1] = inputs[1].abs().add(0.5).mul(0.3);
    inputs[2] = inputs[2].to(wide()).mul(0.1);
    const std::int64_t teachers = config_.num_attention_heads;
    const Tensors teacher = normal(
        "kl_teacher",
        {{kRows, kTokens, teachers, config_.qk_nope_head_dim},
         {kRows, kTokens, teachers, config_.qk_rope_head_dim},
         {kRows, kTokens, config_.kv_lora_rank},
         {kRows, kTokens, config_.qk_rope_head_dim},
         {teachers * (config_.qk_nope_head_dim + config_.v_head_dim), config_.kv_lora_rank}});
    const ops::AttentionOperands operands{teacher[0],          teacher[1],
                                          teacher[2],          teacher[3],
                                          teacher[4].mul(0.3), ops::softmax_scale(config_)};
    at::Tensor tokens = at::ones({kRows, kTokens}, at::kBool);
    tokens[1].narrow(0, 0, 9).fill_(false);
    const ops::KeyMask mask(tokens, {});
    const at::Tensor query = at::arange(kTokens, at::kLong).view({1, kTokens, 1});
    const at::Tensor key = query.sub(at::arange(7, at::kLong).mul(3).view({1, 1, 7}));
    at::Tensor selected = key.masked_fill(key.lt(0), -1).expand({kRows, kTokens, 7}).clone();
    selected[1] = selected[1].masked_fill(selected[1].lt(9), -1);
    const ops::KlTeacher attention =
        sparse ? ops::KlTeacher{operands, ops::sparse_attention(operands, selected).lse, selected}
               : ops::KlTeacher{operands, ops::dense_attention(operands, mask).lse, {}};
    return {"indexer_kl" + suffix, inputs, [=](const Tensors& in) {
              return ops::indexer_kl({in[0], in[1], in[2]}, attention, mask, {}).sum;
            }};
  }

  FusedOp balance(const std::string& suffix, core::BalanceScope scope) {
    constexpr std::int64_t kWithPadding = kRows + 1;  // the last row is nothing else
    at::Tensor tokens = at::ones({kWithPadding, kTokens}, at::kBool);
    tokens[1].narrow(0, 30, kTokens - 30).fill_(false);
    tokens[2].fill_(false);
    const at::Tensor chosen = at::arange(kWithPadding * kTokens * 2, at::kLong)
                                  .mul(3)
                                  .remainder(5)
                                  .view({kWithPadding, kTokens, 2});
    const at::Tensor scores = normal("balance", {{kWithPadding, kTokens, 6}})[0];
    const core::BalanceOptions options{.routing = core::BalanceRouting::kActual, .scope = scope};
    return {"balance_loss" + suffix,
            {scores.to(wide()).sigmoid().mul(0.8).add(0.2)},
            [=](const Tensors& in) { return ops::balance_loss(in[0], chosen, tokens, options); }};
  }

  FusedOp loss() {
    const at::Tensor labels =
        at::arange(kRows * kTokens, at::kLong).mul(7).remainder(29).view({kRows, kTokens});
    const at::Tensor some = labels.masked_fill(labels.eq(3), -100);
    at::Tensor tokens = at::ones({kRows, kTokens}, at::kBool);
    tokens[1].narrow(0, 30, kTokens - 30).fill_(false);
    return {"lm_loss",
            {context_.normal("gradients.loss", {kRows, kTokens, 29}).to(wide())},
            [=](const Tensors& in) { return ops::lm_loss(in[0], some, tokens).loss; }};
  }

 private:
  at::ScalarType wide() const { return tensors::at_least_f32(type_); }

  const SuiteContext& context_;
  const core::ModelConfig& config_;
  at::ScalarType type_;
};

}  // namespace

std::vector<FusedOp> fused_ops(const SuiteContext& context, at::ScalarType type) {
  Maker maker(context, type);
  std::vector<FusedOp> all = maker.norms();
  for (FusedOp& op : maker.rotations()) {
    all.push_back(std::move(op));
  }
  all.push_back(maker.embedding());
  for (FusedOp& op : maker.swiglus()) {
    all.push_back(std::move(op));
  }
  all.push_back(maker.experts("", kTokens));
  // More summands than a matrix product adds up in one go.
  all.push_back(maker.experts(".many_tokens", kManyTokens));
  const core::ModelConfig& c = context.config();
  for (FusedOp& op : maker.attentions("", kTokens,
                                      {c.num_attention_heads, c.qk_nope_head_dim,
                                       c.qk_rope_head_dim, c.kv_lora_rank, c.v_head_dim})) {
    all.push_back(std::move(op));
  }
  for (FusedOp& op : maker.attentions(".many_tiles", kManyTokens, {2, 5, 4, 6, 3})) {
    all.push_back(std::move(op));
  }
  all.push_back(maker.loss());
  all.push_back(maker.indexer_kl(".sparse", true));
  all.push_back(maker.indexer_kl(".dense", false));
  all.push_back(maker.balance(".sequence", core::BalanceScope::kSequence));
  all.push_back(maker.balance(".batch", core::BalanceScope::kBatch));
  return all;
}

std::vector<at::Tensor> gradients_of(const FusedOp& op, const at::Tensor& cotangent) {
  const at::AutoGradMode recording(true);
  Tensors leaves;
  for (const at::Tensor& input : op.inputs) {
    leaves.push_back(input.detach().requires_grad_(true));
  }
  op.run(leaves).backward(cotangent);
  Tensors gradients;
  for (const at::Tensor& leaf : leaves) {
    gradients.push_back(leaf.grad());
  }
  return gradients;
}

}  // namespace sparity::suites::gradients
