#include "suites/gradients/memory_cases.h"

#include "src/model/model.h"
#include "src/tensors/at_dtype.h"
#include "suites/cases/allocation_counter.h"
#include "suites/cases/skips.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>

namespace sparity::suites::gradients {

namespace {

using cases::AllocationCounter;
using cases::AllocationCounts;
using cases::SuiteContext;

constexpr std::int64_t kTokens = 150;
/// Times as many tokens: what is linear grows by this, what is quadratic by its square.
constexpr std::int64_t kLonger = 4;

/// One row of tokens, all of them visible.
tensors::Inputs one_row(const SuiteContext& context, std::int64_t tokens) {
  const at::Tensor places = at::arange(tokens, at::kLong).unsqueeze(0);
  return {.input_ids = places.mul(7).remainder(context.config().vocab_size),
          .token_mask = at::ones({1, tokens}, at::kBool),
          .position_ids = places,
          .labels = {},
          .pair_mask = {},
          .warnings = {}};
}

/// The formulas of docs/numerics.md, "Memory of the way back": bytes a token.
class Kept {
 public:
  explicit Kept(const SuiteContext& context)
      : config_(context.config()),
        activation_(context.activation()),
        a_(static_cast<std::int64_t>(c10::elementSize(activation_))),
        wide_(static_cast<std::int64_t>(c10::elementSize(tensors::at_least_f32(activation_)))) {}

  std::int64_t layer(std::int64_t index, std::int64_t tokens) const {
    const core::ModelConfig& c = config_;
    const std::int64_t heads = c.num_attention_heads;
    const std::int64_t stream = (index == 0 ? 4 : 6) * c.hidden_size;
    const std::int64_t latents = 2 * (c.q_lora_rank + c.kv_lora_rank + c.qk_rope_head_dim);
    const std::int64_t attention = a_ * heads * (c.qk_head_dim() + c.v_head_dim) + wide_ * heads +
                                   8 * std::min(c.index_topk, tokens);
    return a_ * (stream + latents) + attention + (c.is_moe_layer(index) ? moe() : mlp());
  }

  /// Bytes of a layer however many tokens there are: f32(W) of its router, where that is another
  /// tensor than W.
  std::int64_t fixed(std::int64_t index) const {
    return wide_ == a_ || !config_.is_moe_layer(index)
               ? 0
               : wide_ * config_.n_routed_experts * config_.hidden_size;
  }

  /// A layer that is run again.
  std::int64_t input(std::int64_t index) const {
    return a_ * (index == 0 ? 1 : 2) * config_.hidden_size;
  }

  std::int64_t table() const { return wide_ * config_.qk_rope_head_dim; }

  /// The last norm, the head and the logits.
  std::int64_t head() const {
    return (2 * a_ + wide_) * config_.hidden_size + wide_ * config_.vocab_size;
  }

 private:
  /// f32(x), where that is another tensor than x.
  std::int64_t widened() const { return wide_ == a_ ? 0 : wide_ * config_.hidden_size; }
  std::int64_t mlp() const { return a_ * 3 * config_.intermediate_size; }
  std::int64_t moe() const {
    const std::int64_t chosen = config_.num_experts_per_tok;
    return a_ * 3 * config_.n_shared_experts * config_.moe_intermediate_size + widened() +
           8 * chosen +
           wide_ * (config_.n_routed_experts + (config_.norm_topk_prob ? 2 * chosen + 1 : chosen));
  }

  const core::ModelConfig& config_;
  at::ScalarType activation_;
  std::int64_t a_;
  std::int64_t wide_;
};

/// |found − said| ≤ 1 % of what is said.
judge::Comparison within(const std::string& name, std::int64_t found, std::int64_t said) {
  return cases::claim_holds(name, 100 * std::abs(found - said) <= said,
                            fmt::format("{} bytes found, {} said", found, said));
}

void judge_kept(const SuiteContext& context, judge::CaseRecord& record) {
  const at::AutoGradMode recording(true);
  const Kept kept(context);
  const model::Model model(context.config(),
                           context.weights().as_leaves(context.checkpoint().manifest));
  const tensors::Inputs inputs = one_row(context, kTokens);
  const std::vector<std::int64_t> shape = {1, kTokens, context.config().hidden_size};
  for (std::int64_t layer = 0; layer < context.config().num_hidden_layers; ++layer) {
    model::LayerState state{context.normal("memory.hidden", shape).requires_grad_(true), {}};
    if (layer > 0) {
      state.residual = context.normal("memory.residual", shape).requires_grad_(true);
    }
    const AllocationCounter counter;
    const model::LayerState next = model.layer_forward(layer, state, inputs, {}, {});
    // The layer's input is older than the counter. Its output is as large, but after layer 0.
    const std::int64_t output = kept.input(1) - kept.input(layer);
    record.comparisons.push_back(
        within(fmt::format("layers.{}", layer), counter.counts().live_bytes,
               kTokens * (kept.layer(layer, kTokens) + output + kept.table()) + kept.fixed(layer)));
  }
}

/// Logits of the candidate over `inputs`, and what a counter that is older than they saw.
AllocationCounts run_forward(const SuiteContext& context, const core::ModelConfig& config,
                             const tensors::Inputs& inputs, const model::ForwardOptions& options,
                             bool backward) {
  const at::AutoGradMode recording(true);
  const model::Model model(config, context.weights().as_leaves(context.checkpoint().manifest));
  AllocationCounter counter;
  const at::Tensor logits = model.forward(inputs, options);
  if (backward) {
    counter.restart();
    logits.backward(at::ones_like(logits));
  }
  return counter.counts();
}

void judge_recomputed(const SuiteContext& context, judge::CaseRecord& record) {
  const Kept kept(context);
  const tensors::Inputs inputs = one_row(context, kTokens);
  std::int64_t all = kept.table() + kept.head();
  std::int64_t inputs_alone = all;
  std::int64_t fixed = 0;
  for (std::int64_t layer = 0; layer < context.config().num_hidden_layers; ++layer) {
    all += kept.layer(layer, kTokens);
    inputs_alone += kept.input(layer);
    fixed += kept.fixed(layer);
  }
  const AllocationCounts plain = run_forward(context, context.config(), inputs, {}, false);
  const AllocationCounts again =
      run_forward(context, context.config(), inputs, {.recompute_layers = true}, false);
  record.comparisons.push_back(within("all layers kept", plain.live_bytes, kTokens * all + fixed));
  record.comparisons.push_back(
      within("all layers run again", again.live_bytes, kTokens * inputs_alone));
}

/// The weights, of which the first layer's norm alone takes a gradient. It is passed through all
/// layers, and no gradients of parameters pile up on the way: of a model with many parameters and
/// few tokens those are most of the peak, whatever layers keep.
tensors::WeightStore with_one_leaf(const SuiteContext& context) {
  std::map<std::string, at::Tensor> tensors = context.weights().tensors();
  at::Tensor& first = tensors.at("model.layers.0.input_layernorm.weight");
  first = first.detach().requires_grad_(true);
  return {context.checkpoint().manifest, std::move(tensors), "weights with one leaf"};
}

/// Of a forward pass, or of the way back after it.
AllocationCounts run_one_leaf(const SuiteContext& context, const model::ForwardOptions& options,
                              bool backward) {
  const at::AutoGradMode recording(true);
  const model::Model model(context.config(), with_one_leaf(context));
  AllocationCounter counter;
  const at::Tensor logits = model.forward(one_row(context, kTokens), options);
  if (backward) {
    counter.restart();
    logits.backward(at::ones_like(logits));
  }
  return counter.counts();
}

/// Run again, a layer is at work while all that it keeps is there; kept, while all that every layer
/// keeps is. So the peak is lower where the layers before the last keep more than work takes.
void judge_recomputed_peak(const SuiteContext& context, judge::CaseRecord& record) {
  const Kept kept(context);
  std::int64_t saved = 0;
  for (std::int64_t layer = 0; layer + 1 < context.config().num_hidden_layers; ++layer) {
    saved += kTokens * (kept.layer(layer, kTokens) - kept.input(layer)) + kept.fixed(layer);
  }
  const AllocationCounts forward = run_one_leaf(context, {}, false);
  const std::int64_t work = forward.peak_bytes - forward.live_bytes;
  if (saved <= work) {
    cases::skip(record,
                fmt::format("layers before the last keep {} bytes, no more than the {} that "
                            "a pass works with",
                            saved, work));
    return;
  }
  const std::int64_t plain = run_one_leaf(context, {}, true).peak_bytes;
  const std::int64_t again = run_one_leaf(context, {.recompute_layers = true}, true).peak_bytes;
  record.comparisons.push_back(cases::claim_holds(
      "peak of the way back", again < plain,
      fmt::format("lower when layers are run again: {} bytes, {} when kept; {} saved, {} to work",
                  again, plain, saved, work)));
}

/// A tenth above linear growth is rounding up to whole tiles; [B, H, S, T] would grow by kLonger².
judge::Comparison linear(const std::string& name, std::int64_t longer, std::int64_t shorter) {
  return cases::claim_holds(
      name, shorter > 0 && 10 * longer <= 11 * kLonger * shorter,
      fmt::format("{} bytes, {} with {} times as many tokens", shorter, longer, kLonger));
}

void judge_growth(const SuiteContext& context, judge::CaseRecord& record) {
  // The choice, [B, S, min(index_topk, T)], is linear only where there are that many tokens.
  core::ModelConfig config = context.config();
  config.index_topk = std::min(config.index_topk, kTokens);
  for (const auto attention : {core::AttentionMode::kSparse, core::AttentionMode::kDense}) {
    for (const bool backward : {false, true}) {
      const auto run = [&](std::int64_t tokens) {
        return run_forward(context, config, one_row(context, tokens), {.attention = attention},
                           backward);
      };
      const AllocationCounts shorter = run(kTokens);
      const AllocationCounts longer = run(kLonger * kTokens);
      const std::string name =
          fmt::format("{} {}", core::to_string(attention), backward ? "backward" : "forward");
      record.comparisons.push_back(linear(name + " peak", longer.peak_bytes, shorter.peak_bytes));
      record.comparisons.push_back(
          linear(name + " largest tensor", longer.largest, shorter.largest));
    }
  }
}

}  // namespace

std::vector<cases::Case> memory_cases() {
  return {
      cases::of_our_implementation({"gradients", "keep_what_the_formula_says", judge_kept}),
      cases::of_our_implementation(
          {"gradients", "nothing_of_size_heads_by_tokens_by_tokens", judge_growth}),
      cases::of_our_implementation({"gradients", "recomputed_layers_keep_less", judge_recomputed}),
      cases::of_our_implementation(
          {"gradients", "recomputed_layers_lower_the_peak", judge_recomputed_peak}),
  };
}

}  // namespace sparity::suites::gradients
