#include "suites/masking/batch_cases.h"

#include "suites/masking/bitwise.h"
#include "suites/masking/mask_forms.h"

#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

namespace sparity::suites::masking {

namespace {

using cases::Case;
using cases::SuiteContext;
using cases::Trace;
using core::AttentionMode;

constexpr AttentionMode kSparse = AttentionMode::kSparse;

/// The rows of [B, S, …] that are tokens, as [N, …].
std::function<at::Tensor(const at::Tensor&)> rows_of_tokens(const at::Tensor& token_mask) {
  const at::Tensor rows = token_mask.flatten().nonzero().view({-1});
  return [rows](const at::Tensor& value) { return value.flatten(0, 1).index_select(0, rows); };
}

Case neighbour_case(const MaskForm& form) {
  return {"masking", "a_neighbour_in_the_batch_changes_nothing_under_" + form.name,
          [form](const SuiteContext& plain, judge::CaseRecord& record) {
            const SuiteContext context = with_form(plain, form);
            const tensors::Inputs& inputs = context.inputs();
            at::Tensor where = at::zeros_like(inputs.input_ids, at::kBool);
            where[1].fill_(true);
            const Trace before = candidate_run(context, inputs, kSparse);
            const Trace after =
                candidate_run(context, with_other_ids(inputs, context.config(), where), kSparse,
                              expert_choices(before));
            compare_parts(
                after, before, [](const at::Tensor& value) { return value.select(0, 0); }, record);
          }};
}

Case padding_content_case(const MaskForm& form) {
  return {"masking", "the_content_of_padding_changes_nothing_when_" + form.name,
          [form](const SuiteContext& plain, judge::CaseRecord& record) {
            const SuiteContext context = with_form(plain, form);
            const tensors::Inputs& inputs = context.inputs();
            const Trace before = candidate_run(context, inputs, kSparse);
            const Trace after = candidate_run(
                context, with_other_ids(inputs, context.config(), inputs.token_mask.logical_not()),
                kSparse, expert_choices(before));
            compare_parts(after, before, rows_of_tokens(inputs.token_mask), record);
          }};
}

/// A token mask and the mask of pairs that hides the same keys.
Case spelling_case() {
  return {"masking", "padding_and_the_same_mask_of_pairs_give_the_same_bits",
          [](const SuiteContext& plain, judge::CaseRecord& record) {
            const SuiteContext context = with_form(plain, padded_on_the_right());
            const tensors::Inputs& padded = context.inputs();
            const std::int64_t tokens = padded.input_ids.size(1);
            tensors::Inputs pairs = padded;
            pairs.token_mask = at::full_like(padded.token_mask, true);
            tensors::apply_attention_mask(
                padded.token_mask.unsqueeze(1).expand({-1, tokens, -1}).unsqueeze(1), "pairs",
                pairs);
            const Trace before = candidate_run(context, padded, kSparse);
            const Trace after = candidate_run(context, pairs, kSparse, expert_choices(before));
            compare_parts(after, before, rows_of_tokens(padded.token_mask), record);
          }};
}

/// A part of the batch that the candidate runs alone, and the whole that the reference runs.
struct Part {
  tensors::Inputs inputs;
  /// The part's share of a tensor of the whole, by name.
  std::function<at::Tensor(const std::string&, const at::Tensor&)> of;
};

Part first_tokens(const tensors::Inputs& inputs, std::int64_t tokens) {
  Part part{inputs, [tokens](const std::string& name, const at::Tensor& whole) {
              const at::Tensor rows = whole.narrow(1, 0, tokens);
              const bool over_keys =
                  name.ends_with(".indexer.scores") || name.ends_with(".indexer.topk_indices");
              return over_keys ? rows.narrow(2, 0, std::min(tokens, rows.size(2))) : rows;
            }};
  for (at::Tensor* tensor :
       {&part.inputs.input_ids, &part.inputs.token_mask, &part.inputs.position_ids}) {
    *tensor = tensor->narrow(1, 0, tokens).contiguous();
  }
  if (inputs.pair_mask.defined()) {
    part.inputs.pair_mask = inputs.pair_mask.narrow(1, 0, tokens).narrow(2, 0, tokens).contiguous();
  }
  return part;
}

Part second_row(const tensors::Inputs& inputs) {
  Part part{inputs,
            [](const std::string&, const at::Tensor& whole) { return whole.narrow(0, 1, 1); }};
  for (at::Tensor* tensor : {&part.inputs.input_ids, &part.inputs.token_mask,
                             &part.inputs.position_ids, &part.inputs.pair_mask}) {
    *tensor = tensor->defined() ? tensor->narrow(0, 1, 1).contiguous() : *tensor;
  }
  return part;
}

/// The whole's choices, and in the part's place the part's own.
cases::Forced merged_choices(const Trace& whole, const Trace& own, const Part& part) {
  cases::Forced merged = cases::selections_of(whole);
  for (auto& [name, choice] : merged) {
    choice = choice.clone();
    part.of(name, choice).copy_(own.tensors.at(name));
  }
  return merged;
}

Trace share_of(Trace whole, const Part& part) {
  for (auto& [name, value] : whole.tensors) {
    value = part.of(name, value);
  }
  for (Trace& run : whole.again) {
    run = share_of(std::move(run), part);
  }
  return whole;
}

using MakePart = std::function<Part(const tensors::Inputs&)>;

/// The candidate runs the part, truth and baseline the whole.
Case part_case(const std::string& name, const MaskForm& form, const MakePart& make_part) {
  return {"masking", name, [=](const SuiteContext& plain, judge::CaseRecord& record) {
            const SuiteContext context = with_form(plain, form);
            const Part part = make_part(context.inputs());
            const Trace own = candidate_run(context, part.inputs, kSparse);
            const cases::Forced choices =
                merged_choices(candidate_run(context, context.inputs(), kSparse), own, part);
            const Trace baseline =
                cases::trace_forward(context, context.baseline(), context.inputs(), choices);
            const Trace truth =
                cases::trace_forward(context, context.truth(), context.inputs(), choices);
            const SuiteContext inner = context.with_inputs(part.inputs);
            const Trace honest_share = share_of(baseline, part);
            const Trace true_share = share_of(truth, part);
            const std::vector<std::string> globs = {"*.indexer.scores", "*.self_attn.attn_output",
                                                    "*.mlp", "logits"};
            cases::judge_trace(inner, {own, honest_share, true_share}, globs, record);
            cases::judge_selections(inner, {own, honest_share, true_share},
                                    {"*.indexer.topk_indices"}, record);
          }};
}

}  // namespace

std::vector<Case> batch_cases() {
  const MakePart prefix = [](const tensors::Inputs& inputs) {
    const std::int64_t tokens = inputs.input_ids.size(1);
    return first_tokens(inputs, tokens - tokens / 3);
  };
  std::vector<Case> all = {
      neighbour_case(unmasked()),
      neighbour_case(padded_on_the_right()),
      padding_content_case(padded_on_the_right()),
      padding_content_case(padded_on_the_left()),
      spelling_case(),
  };
  for (const MaskForm& form : {unmasked(), padded_on_the_left(), scattered_pairs()}) {
    all.push_back(
        part_case("a_prefix_is_the_full_runs_beginning_under_" + form.name, form, prefix));
    all.push_back(
        part_case("a_row_alone_is_the_row_in_its_batch_under_" + form.name, form, second_row));
  }
  return all;
}

}  // namespace sparity::suites::masking
