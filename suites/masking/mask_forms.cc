#include "suites/masking/mask_forms.h"

#include "src/core/philox.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace sparity::suites::masking {

namespace {

using cases::SuiteContext;
using tensors::Inputs;

constexpr std::int64_t kRows = 2;

Inputs plain_inputs(const SuiteContext& context, std::int64_t tokens) {
  const core::RandomStream stream(context.options().seed, "masking.input_ids");
  const auto vocabulary = static_cast<std::uint64_t>(context.config().vocab_size);
  Inputs inputs;
  inputs.input_ids = at::empty({kRows, tokens}, at::kLong);
  auto* ids = inputs.input_ids.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < kRows * tokens; ++i) {
    ids[i] = static_cast<std::int64_t>(stream.below(static_cast<std::uint64_t>(i), vocabulary));
  }
  inputs.token_mask = at::ones_like(inputs.input_ids, at::kBool);
  inputs.position_ids = at::arange(tokens, at::kLong).expand({kRows, tokens}).contiguous();
  return inputs;
}

/// What a form hands to apply_attention_mask, given the size.
using MakeMask = std::function<at::Tensor(const SuiteContext&, std::int64_t tokens)>;

MaskForm form_of(std::string name, const MakeMask& make_mask) {
  return {name, [=](const SuiteContext& context, std::int64_t tokens) {
            Inputs inputs = plain_inputs(context, tokens);
            tensors::apply_attention_mask(make_mask(context, tokens), name, inputs);
            return inputs;
          }};
}

std::int64_t short_row(std::int64_t tokens) { return std::max<std::int64_t>(1, tokens * 6 / 10); }

at::Tensor causal(std::int64_t tokens) {
  return at::ones({tokens, tokens}, at::kBool).tril().expand({kRows, tokens, tokens}).clone();
}

/// About seven pairs of ten open, later keys too: causality is the model's own affair. Rows 3 of
/// the first sequence and 0 of the second see nothing.
at::Tensor pairs_at_random(const SuiteContext& context, std::int64_t tokens) {
  const core::RandomStream stream(context.options().seed, "masking.pairs");
  at::Tensor pairs = at::empty({kRows, tokens, tokens}, at::kBool);
  bool* open = pairs.mutable_data_ptr<bool>();
  for (std::int64_t i = 0; i < pairs.numel(); ++i) {
    open[i] = stream.below(static_cast<std::uint64_t>(i), 10) < 7;
  }
  pairs[0][std::min<std::int64_t>(3, tokens - 1)].fill_(false);
  pairs[1][0].fill_(false);
  return pairs;
}

/// Two documents a row, one row each for itself, causality spelled out.
at::Tensor two_documents(const SuiteContext&, std::int64_t tokens) {
  at::Tensor pairs = causal(tokens);
  for (std::int64_t b = 0; b < kRows; ++b) {
    const std::int64_t second = tokens / 3 + 2 * b;
    pairs[b].narrow(0, second, tokens - second).narrow(1, 0, second).fill_(false);
  }
  return pairs.unsqueeze(1);
}

/// finfo.min of the activation dtype where a key is padding or later, as transformers builds it.
at::Tensor additive_lowest(const SuiteContext& context, std::int64_t tokens) {
  at::Tensor open = causal(tokens);
  open[1].narrow(1, short_row(tokens), tokens - short_row(tokens)).fill_(false);
  const double lowest = context.activation() == at::kDouble ? std::numeric_limits<double>::lowest()
                        : context.activation() == at::kBFloat16
                            ? -3.3895313892515355e38
                            : std::numeric_limits<float>::lowest();
  return at::zeros({kRows, 1, tokens, tokens}, context.activation())
      .masked_fill(open.logical_not().unsqueeze(1), lowest);
}

/// −inf before a window of the last keys, later keys open as in `pairs_at_random`; key 0 is hidden
/// from everyone, so query 0 sees nothing.
at::Tensor additive_infinite(const SuiteContext&, std::int64_t tokens) {
  const std::int64_t window = tokens * 2 / 3;
  at::Tensor open = at::ones({kRows, tokens, tokens}, at::kBool).triu(1 - window);
  open.select(2, 0).fill_(false);
  return at::zeros({kRows, tokens, tokens}, at::kFloat)
      .masked_fill(open.logical_not(), -std::numeric_limits<double>::infinity());
}

}  // namespace

MaskForm unmasked() { return {"no_mask", plain_inputs}; }

MaskForm padded_on_the_right() {
  return form_of("padded_on_the_right", [](const SuiteContext&, std::int64_t tokens) {
    at::Tensor mask = at::ones({kRows, tokens}, at::kLong);
    mask[1].narrow(0, short_row(tokens), tokens - short_row(tokens)).fill_(0);
    return mask;
  });
}

/// Positions count tokens, not columns, as generation with left padding passes them.
MaskForm padded_on_the_left() {
  return {"padded_on_the_left", [](const SuiteContext& context, std::int64_t tokens) {
            Inputs inputs = plain_inputs(context, tokens);
            at::Tensor mask = at::ones({kRows, tokens}, at::kBool);
            mask[1].narrow(0, 0, tokens - short_row(tokens)).fill_(false);
            tensors::apply_attention_mask(mask, "padded_on_the_left", inputs);
            inputs.position_ids = mask.to(at::kLong).cumsum(1).sub(1).clamp_min(0).contiguous();
            return inputs;
          }};
}

MaskForm padded_on_the_left_by_column() {
  return {"padded_on_the_left_with_positions_by_column",
          [](const SuiteContext& context, std::int64_t tokens) {
            Inputs inputs = padded_on_the_left().inputs(context, tokens);
            inputs.position_ids = plain_inputs(context, tokens).position_ids;
            return inputs;
          }};
}

MaskForm positions_with_gaps() {
  return {"positions_with_gaps", [](const SuiteContext& context, std::int64_t tokens) {
            Inputs inputs = plain_inputs(context, tokens);
            at::Tensor& positions = inputs.position_ids;
            positions.mul_(2);
            positions.narrow(1, tokens / 2, tokens - tokens / 2).add_(5);
            positions[1].add_(31);
            return inputs;
          }};
}

MaskForm scattered_pairs() { return form_of("bool_pairs", pairs_at_random); }

MaskForm windowed() { return form_of("additive_minus_infinity", additive_infinite); }

std::vector<MaskForm> mask_forms() {
  return {
      unmasked(),
      padded_on_the_right(),
      padded_on_the_left(),
      scattered_pairs(),
      form_of("bool_pairs_with_a_head_axis", two_documents),
      form_of("additive_finfo_min", additive_lowest),
      windowed(),
  };
}

std::int64_t model_tokens(const core::ModelConfig& config) {
  // Fewer tokens than 13 would leave some forms without an open pair before the first change.
  return config.index_topk <= 64 ? std::max<std::int64_t>(13, config.index_topk * 3 / 2 + 1) : 33;
}

Inputs with_other_ids(Inputs inputs, const core::ModelConfig& config, const at::Tensor& where) {
  const at::Tensor others =
      inputs.input_ids.add(1 + config.vocab_size / 3).remainder(config.vocab_size);
  inputs.input_ids = at::where(where, others, inputs.input_ids);
  return inputs;
}

SuiteContext with_form(const SuiteContext& context, const MaskForm& form) {
  return context.with_inputs(form.inputs(context, model_tokens(context.config())));
}

}  // namespace sparity::suites::masking
