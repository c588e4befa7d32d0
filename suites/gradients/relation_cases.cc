#include "suites/gradients/relation_cases.h"

#include "src/tensors/recorder.h"
#include "suites/gradients/backward_runs.h"
#include "suites/masking/mask_forms.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/zeros_like.h>

namespace sparity::suites::gradients {

namespace {

using cases::BackwardTrace;
using cases::Case;
using cases::SuiteContext;
using tensors::Inputs;

Inputs with_rows_reversed(const Inputs& inputs) {
  Inputs reversed = inputs;
  for (at::Tensor* part : {&reversed.input_ids, &reversed.token_mask, &reversed.position_ids,
                           &reversed.pair_mask, &reversed.labels}) {
    *part = part->defined() ? part->flip(0) : *part;
  }
  return reversed;
}

/// `columns` more tokens of padding on the right, with ids that are in the vocabulary.
Inputs padded(const Inputs& inputs, std::int64_t columns) {
  Inputs longer = inputs;
  longer.input_ids = at::constant_pad_nd(inputs.input_ids, {0, columns}, 1);
  longer.token_mask = at::constant_pad_nd(inputs.token_mask, {0, columns}, 0);
  longer.position_ids = at::constant_pad_nd(inputs.position_ids, {0, columns}, 0);
  return longer;
}

/// Twice the cotangent is twice every gradient, bit for bit: doubling rounds nothing.
void judge_doubling(const SuiteContext& context, judge::CaseRecord& record) {
  const at::Tensor cotangent = cotangent_for(context, "gradients.linear");
  const auto run = [&](const at::Tensor& w) {
    return cases::trace_backward(context.candidate(), {.inputs = context.inputs(), .cotangent = w});
  };
  const BackwardTrace once = run(cotangent);
  const BackwardTrace twice = run(cotangent.mul(2));
  for (const auto& [name, gradient] : once.parameters) {
    record.comparisons.push_back(cases::compare_bits(tensors::gradient_name(name),
                                                     twice.parameters.at(name), gradient.mul(2)));
  }
}

/// Judges the parameters' gradients of a changed run of the candidate by truth and baseline of the
/// unchanged one.
void judge_changed(const SuiteContext& context, const at::Tensor& cotangent,
                   const cases::BackwardPlan& changed, judge::CaseRecord& record) {
  const ThreeRuns plain = run_three(context, {.inputs = context.inputs(), .cotangent = cotangent});
  const BackwardTrace candidate = cases::trace_backward(context.candidate(), changed);
  cases::judge_parameter_gradients(context, {candidate, plain.baseline, plain.truth}, record);
}

void judge_row_order(const SuiteContext& context, judge::CaseRecord& record) {
  const at::Tensor cotangent = cotangent_for(context, "gradients.rows");
  const Inputs reversed = with_rows_reversed(context.inputs());
  judge_changed(context, cotangent, {.inputs = reversed, .cotangent = cotangent.flip(0)}, record);
}

void judge_padding(const SuiteContext& plain, judge::CaseRecord& record) {
  const SuiteContext context = masking::with_form(plain, masking::unmasked());
  const at::Tensor cotangent = cotangent_for(context, "gradients.padding");
  const Inputs longer = padded(context.inputs(), 7);
  judge_changed(context, cotangent,
                {.inputs = longer, .cotangent = at::constant_pad_nd(cotangent, {0, 0, 0, 7}, 0)},
                record);
}

/// Nothing that belongs to a token after the last one with a cotangent receives a gradient.
void judge_causality(const SuiteContext& plain, judge::CaseRecord& record) {
  const SuiteContext context = masking::with_form(plain, masking::unmasked());
  const std::int64_t tokens = context.inputs().input_ids.size(1);
  const std::int64_t later = tokens * 2 / 3;
  at::Tensor cotangent = cotangent_for(context, "gradients.causal").clone();
  cotangent.narrow(1, later, tokens - later).zero_();
  for (const core::AttentionMode mode :
       {core::AttentionMode::kSparse, core::AttentionMode::kDense}) {
    const cases::BackwardPlan plan{
        .inputs = context.inputs(), .attention = mode, .cotangent = cotangent};
    const BackwardTrace run = cases::trace_backward(context.candidate(), plan);
    ZeroInTruth zero_in_truth(context, plan, run);
    for (const std::string& name : run.trace.order) {
      const auto found = run.trace.tensors.find(tensors::gradient_name(name));
      if (found == run.trace.tensors.end()) {
        continue;
      }
      const at::Tensor rest = found->second.narrow(1, later, tokens - later);
      record.comparisons.push_back(cases::claim_holds(
          found->first,
          rest.eq(0).all().item<bool>() &&
              (found->second.ne(0).any().item<bool>() || zero_in_truth.intermediate(name)),
          "exactly zero from the first token without a cotangent on, and not before"));
    }
  }
}

/// Other tokens after the last one with a cotangent change no gradient but by rounding.
void judge_later_tokens(const SuiteContext& plain, judge::CaseRecord& record) {
  const SuiteContext context = masking::with_form(plain, masking::unmasked());
  const std::int64_t tokens = context.inputs().input_ids.size(1);
  const std::int64_t later = tokens * 2 / 3;
  at::Tensor cotangent = cotangent_for(context, "gradients.later").clone();
  cotangent.narrow(1, later, tokens - later).zero_();
  at::Tensor where = at::zeros_like(context.inputs().token_mask);
  where.narrow(1, later, tokens - later).fill_(true);
  const Inputs other = masking::with_other_ids(context.inputs(), context.config(), where);
  judge_changed(context, cotangent, {.inputs = other, .cotangent = cotangent}, record);
}

}  // namespace

std::vector<Case> relation_cases() {
  return {
      {"gradients", "double_with_the_cotangent_bit_for_bit", judge_doubling},
      {"gradients", "do_not_depend_on_the_order_of_the_batch", judge_row_order},
      {"gradients", "gain_nothing_from_padding", judge_padding},
      {"gradients", "never_reach_a_later_token", judge_causality},
      {"gradients", "do_not_change_with_later_tokens", judge_later_tokens},
  };
}

}  // namespace sparity::suites::gradients
