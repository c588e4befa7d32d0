#include "suites/masking/causality_cases.h"

#include "suites/masking/bitwise.h"
#include "suites/masking/mask_forms.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace sparity::suites::masking {

namespace {

using cases::Case;
using cases::SuiteContext;
using cases::Trace;
using core::AttentionMode;

/// Inputs with another token in column `column` of every row of the batch.
tensors::Inputs with_other_token(const SuiteContext& context, std::int64_t column) {
  at::Tensor where = at::zeros_like(context.inputs().input_ids, at::kBool);
  where.select(1, column).fill_(true);
  return with_other_ids(context.inputs(), context.config(), where);
}

Trace run_with_other_token(const SuiteContext& context, std::int64_t column, AttentionMode mode,
                           const cases::Forced& experts) {
  return candidate_run(context, with_other_token(context, column), mode, experts);
}

/// Rows [B, S] of `tensor` that the change of a token moves, in the truth, by so much that no
/// rounding hides it: 16 roundoffs of the row. In a model of zeros, say, there is nothing to move.
at::Tensor rows_moved_in_truth(const SuiteContext& context, std::int64_t column, AttentionMode mode,
                               const cases::Forced& experts, const std::string& tensor) {
  const auto run = [&](const tensors::Inputs& inputs) {
    return cases::trace_forward(context, context.truth(), inputs, experts, mode)
        .tensors.at(tensor)
        .flatten(2);
  };
  const at::Tensor before = run(context.inputs());
  const at::Tensor moved = run(with_other_token(context, column)).sub(before).abs().amax(-1);
  const double least = 16 * core::unit_roundoff(context.options().dtype);
  return moved.gt(before.abs().amax(-1).mul(least));
}

/// Rows before column j of every trace must keep their bits; logits at j must not.
Case perturbation_case(const MaskForm& form, AttentionMode mode) {
  const std::string name =
      fmt::format("a_changed_token_changes_nothing_before_it_under_{}_in_{}_mode", form.name,
                  core::to_string(mode));
  return {"masking", name, [=](const SuiteContext& plain, judge::CaseRecord& record) {
            const SuiteContext context = with_form(plain, form);
            const std::int64_t tokens = context.inputs().input_ids.size(1);
            const Trace before = candidate_run(context, context.inputs(), mode);
            const std::vector<std::int64_t> columns = {tokens / 3, tokens - 1};
            std::vector<Trace> after;
            for (const std::int64_t column : columns) {
              after.push_back(run_with_other_token(context, column, mode, expert_choices(before)));
            }
            for (const std::string& tensor : before.order) {
              std::vector<at::Tensor> expected;
              std::vector<at::Tensor> found;
              for (std::size_t i = 0; i < columns.size(); ++i) {
                const auto earlier = [&](const Trace& trace) {
                  return trace.tensors.at(tensor).narrow(1, 0, columns[i]).flatten();
                };
                expected.push_back(earlier(before));
                found.push_back(earlier(after[i]));
              }
              record.comparisons.push_back(
                  cases::compare_bits(tensor, at::cat(found), at::cat(expected)));
            }
            for (std::size_t i = 0; i < columns.size(); ++i) {
              const at::Tensor moved =
                  after[i].tensors.at("logits").ne(before.tensors.at("logits"));
              record.comparisons.push_back(cases::claim_holds(
                  fmt::format("logits at changed token {}", columns[i]),
                  moved.select(1, columns[i])
                      .any(-1)
                      .logical_or(rows_moved_in_truth(context, columns[i], mode,
                                                      expert_choices(before), "logits")
                                      .select(1, columns[i])
                                      .logical_not())
                      .all()
                      .item<bool>(),
                  "they differ from those before the change in every row of the batch"));
            }
            record.conditions.push_back(
                {.name = "index_topk < tokens of the masking suite",
                 .exercised = context.config().index_topk < tokens,
                 .required = context.options().embedded,
                 .detail = fmt::format("{} of {}", context.config().index_topk, tokens)});
          }};
}

/// A mask may be too strict as well: without one, a token reaches itself and every later query
/// whose selection takes in all that it sees.
Case reach_case(AttentionMode mode) {
  const std::string name = fmt::format("a_changed_token_reaches_itself_and_later_tokens_in_{}_mode",
                                       core::to_string(mode));
  return {
      "masking", name, [=](const SuiteContext& plain, judge::CaseRecord& record) {
        const SuiteContext context = with_form(plain, unmasked());
        const std::int64_t tokens = context.inputs().input_ids.size(1);
        const std::int64_t end =
            mode == AttentionMode::kDense ? tokens : std::min(tokens, context.config().index_topk);
        const std::string output = "layers.0.self_attn.attn_output";
        const Trace before = candidate_run(context, context.inputs(), mode);
        for (const std::int64_t column : {std::int64_t{0}, std::int64_t{1}}) {
          if (column >= end) {
            continue;
          }
          const Trace after = run_with_other_token(context, column, mode, expert_choices(before));
          const at::Tensor moved =
              after.tensors.at(output).ne(before.tensors.at(output)).flatten(2).any(-1);
          record.comparisons.push_back(cases::claim_holds(
              output,
              moved
                  .logical_or(
                      rows_moved_in_truth(context, column, mode, expert_choices(before), output)
                          .logical_not())
                  .narrow(1, column, end - column)
                  .all()
                  .item<bool>(),
              fmt::format("queries {} to {} see the change of token {}", column, end - 1, column)));
        }
      }};
}

}  // namespace

std::vector<Case> causality_cases() {
  std::vector<Case> all;
  for (const MaskForm& form : mask_forms()) {
    all.push_back(perturbation_case(form, AttentionMode::kSparse));
  }
  all.push_back(perturbation_case(unmasked(), AttentionMode::kDense));
  all.push_back(perturbation_case(padded_on_the_left(), AttentionMode::kDense));
  all.push_back(reach_case(AttentionMode::kSparse));
  all.push_back(reach_case(AttentionMode::kDense));
  return all;
}

}  // namespace sparity::suites::masking
