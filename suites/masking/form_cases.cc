#include "suites/masking/form_cases.h"

#include "reference/model/mask.h"
#include "suites/cases/trace.h"
#include "suites/masking/bitwise.h"
#include "suites/masking/mask_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace sparity::suites::masking {

namespace {

using cases::Case;
using cases::SuiteContext;
using cases::Trace;
using core::AttentionMode;

/// Where a mask shows, and what comes of it.
const std::vector<std::string> kMasked = {"*.indexer.scores", "*.self_attn.lse",
                                          "*.self_attn.attn_output", "logits"};

std::string mode_name(AttentionMode mode) { return std::string(core::to_string(mode)); }

Case form_case(const MaskForm& form, AttentionMode mode) {
  return {"masking", form.name + "_agrees_with_the_reference_in_" + mode_name(mode) + "_mode",
          [=](const SuiteContext& plain, judge::CaseRecord& record) {
            const SuiteContext context = with_form(plain, form);
            const tensors::Inputs& inputs = context.inputs();
            const Trace candidate = candidate_run(context, inputs, mode);
            const cases::Forced chosen = cases::selections_of(candidate);
            const Trace baseline =
                cases::trace_forward(context, context.baseline(), inputs, chosen, mode);
            const Trace truth =
                cases::trace_forward(context, context.truth(), inputs, chosen, mode);
            cases::judge_trace(context, {candidate, baseline, truth}, kMasked, record);
            cases::judge_selections(context, {candidate, baseline, truth},
                                    {"*.indexer.topk_indices"}, record);
          }};
}

/// A caller chooses the keys, and among them such as the mask hides: later ones, padding, pairs
/// that are closed. Every side leaves those out.
Case forced_case(const MaskForm& form) {
  return {"masking", "forced_keys_that_are_hidden_are_left_out_under_" + form.name,
          [=](const SuiteContext& plain, judge::CaseRecord& record) {
            const SuiteContext context = with_form(plain, form);
            const tensors::Inputs& inputs = context.inputs();
            const std::int64_t tokens = inputs.input_ids.size(1);
            const std::int64_t keys = std::min(context.config().index_topk, tokens);
            cases::Forced forced =
                cases::selections_of(candidate_run(context, inputs, AttentionMode::kSparse));
            for (auto& [name, choice] : forced) {
              if (name.ends_with(".indexer.topk_indices")) {
                choice = context.normal(name, {inputs.input_ids.size(0), tokens, tokens})
                             .to(at::kDouble)
                             .argsort(/*stable=*/true, -1, false)
                             .narrow(2, 0, keys)
                             .contiguous();
              }
            }
            const auto run = [&](const cases::BoundModel& side) {
              return cases::trace_forward(context, side, inputs, forced);
            };
            const Trace candidate = run(context.candidate());
            const Trace baseline = run(context.baseline());
            const Trace truth = run(context.truth());
            cases::judge_trace(context, {candidate, baseline, truth},
                               {"*.self_attn.lse", "*.self_attn.attn_output", "logits"}, record);
          }};
}

/// Whether `value` [B, S, …] is `expected` in every element of the rows chosen by Bool [B, S].
bool rows_hold(const at::Tensor& value, const at::Tensor& rows, double expected) {
  const at::Tensor chosen =
      value.flatten(0, 1).index_select(0, rows.flatten().nonzero().view({-1}));
  return chosen.eq(expected).all().item<bool>();
}

void judge_blind_rows(const Trace& trace, const at::Tensor& blind, judge::CaseRecord& record) {
  const std::vector<std::pair<std::string, double>> expected = {
      {".indexer.topk_indices", -1.0},
      {".self_attn.lse", -std::numeric_limits<double>::infinity()},
      {".self_attn.attn_output", 0.0}};
  for (const std::string& name : trace.order) {
    for (const auto& [tail, value] : expected) {
      if (name.ends_with(tail)) {
        record.comparisons.push_back(cases::claim_holds(
            name, rows_hold(trace.tensors.at(name), blind, value),
            fmt::format("every element of the rows without a key is {}", value)));
      }
    }
  }
}

/// D-26: a query that sees nothing gives zero, not NaN and not the mean of what it may not see.
Case blind_case(const MaskForm& form, AttentionMode mode) {
  return {"masking",
          "rows_without_keys_give_zero_under_" + form.name + "_in_" + mode_name(mode) + "_mode",
          [=](const SuiteContext& plain, judge::CaseRecord& record) {
            const SuiteContext context = with_form(plain, form);
            const at::Tensor blind =
                reference::model::valid_pairs(context.inputs()).any(-1).logical_not();
            const Trace trace = candidate_run(context, context.inputs(), mode);
            judge_blind_rows(trace, blind, record);
            record.comparisons.push_back(cases::claim_holds(
                "logits", trace.tensors.at("logits").isfinite().all().item<bool>(),
                "every logit is finite, those of rows without keys included"));
            const auto rows = blind.sum().item<std::int64_t>();
            record.conditions.push_back({.name = "some queries see no key",
                                         .exercised = rows > 0,
                                         .required = true,
                                         .detail = fmt::format("{} rows", rows)});
          }};
}

}  // namespace

std::vector<Case> form_cases() {
  std::vector<Case> all;
  for (const MaskForm& form : mask_forms()) {
    all.push_back(form_case(form, AttentionMode::kSparse));
  }
  for (const MaskForm& form : {unmasked(), padded_on_the_left(), scattered_pairs()}) {
    all.push_back(form_case(form, AttentionMode::kDense));
  }
  for (const MaskForm& form : {padded_on_the_left_by_column(), positions_with_gaps()}) {
    all.push_back(form_case(form, AttentionMode::kSparse));
    all.push_back(form_case(form, AttentionMode::kDense));
  }
  for (const MaskForm& form : {unmasked(), padded_on_the_left(), scattered_pairs()}) {
    all.push_back(forced_case(form));
  }
  for (const MaskForm& form : {padded_on_the_left(), scattered_pairs(), windowed()}) {
    all.push_back(blind_case(form, AttentionMode::kSparse));
    all.push_back(blind_case(form, AttentionMode::kDense));
  }
  return all;
}

}  // namespace sparity::suites::masking
