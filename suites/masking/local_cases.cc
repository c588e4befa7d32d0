#include "suites/masking/local_cases.h"

#include "reference/model/indexer.h"
#include "reference/model/mask.h"
#include "src/ops/indexer.h"
#include "src/ops/key_mask.h"
#include "src/tensors/at_dtype.h"
#include "src/tensors/recorder.h"
#include "suites/judge/selection.h"
#include "suites/masking/mask_forms.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <string>
#include <utility>

namespace sparity::suites::masking {

namespace {

using cases::Case;
using cases::SuiteContext;

/// More than one tile of queries.
constexpr std::int64_t kTokens = 41;

/// The candidate's mask, made in one piece and in uneven tiles, is the reference's.
Case key_mask_case(const MaskForm& form) {
  return {
      "masking", "mask_of_" + form.name + "_is_the_references",
      [form](const SuiteContext& context, judge::CaseRecord& record) {
        const tensors::Inputs inputs = form.inputs(context, kTokens);
        const at::Tensor valid = reference::model::valid_pairs(inputs);
        const ops::KeyMask mask(inputs);
        std::vector<at::Tensor> tiles;
        for (std::int64_t row0 = 0; row0 < kTokens; row0 += 7) {
          tiles.push_back(mask.rows(row0, std::min(row0 + 7, kTokens)));
        }
        record.comparisons.push_back(cases::compare_bits("key_mask", mask.rows(0, kTokens), valid));
        record.comparisons.push_back(
            cases::compare_bits("tiles of key_mask", at::cat(tiles, 1), valid));
      }};
}

/// Index operands whose scores grow with the key's index, exactly: every query would rather choose
/// a later key than any it may see.
ops::IndexOperands later_keys_score_higher(const SuiteContext& context) {
  constexpr std::int64_t kHeads = 3;
  constexpr std::int64_t kDim = 8;
  const at::ScalarType type = context.activation();
  return {.q = at::ones({2, kTokens, kHeads, kDim}, type),
          .k = at::arange(1, kTokens + 1, at::kLong)
                   .to(type)
                   .view({1, kTokens, 1})
                   .expand({2, kTokens, kDim})
                   .contiguous(),
          .weights = at::full({2, kTokens, kHeads}, 0.25, tensors::at_least_f32(type))};
}

judge::Tensor reference_scores(const ops::IndexOperands& operands, const at::Tensor& valid,
                               at::ScalarType type) {
  return cases::judged(
      reference::model::index_scores(operands.q.to(type), operands.k.to(type),
                                     operands.weights.to(tensors::at_least_f32(type)), valid));
}

/// S7c: the future is the best choice, and may not be made.
Case tempting_future_case(const MaskForm& form) {
  return {"masking", "future_keys_with_the_largest_scores_stay_hidden_under_" + form.name,
          [form](const SuiteContext& context, judge::CaseRecord& record) {
            constexpr std::int64_t kTop = 5;
            const tensors::Inputs inputs = form.inputs(context, kTokens);
            const at::Tensor valid = reference::model::valid_pairs(inputs);
            const ops::IndexOperands operands = later_keys_score_higher(context);
            tensors::Recorder recorder({"scores"});
            const at::Tensor indices =
                ops::select_keys(operands, ops::KeyMask(inputs), kTop, tensors::Probe(&recorder));
            const judge::Tensor own = cases::judged(recorder.captured().at("scores"));
            const judge::Tensor honest = reference_scores(operands, valid, context.activation());
            const judge::Tensor truth = reference_scores(operands, valid, at::kDouble);
            record.comparisons.push_back(
                judge::compare({.tensor = "indexer.scores"}, own, &honest, truth));
            const judge::Tensor own_indices = cases::judged(indices);
            const judge::SelectionResult result =
                judge::compare_selection({.tensor = "indexer.topk_indices", .k = kTop},
                                         {&own, &own_indices}, {&honest, nullptr}, truth);
            record.comparisons.push_back(result.comparison);
            record.selections.push_back(result.summary);
            record.comparisons.push_back(cases::compare_bits(
                "indexer.topk_indices", indices,
                reference::model::topk_indices(
                    reference::model::index_scores(operands.q.to(at::kDouble),
                                                   operands.k.to(at::kDouble),
                                                   operands.weights.to(at::kDouble), valid),
                    kTop)));
          }};
}

}  // namespace

std::vector<Case> local_cases() {
  std::vector<Case> all;
  for (const MaskForm& form : mask_forms()) {
    all.push_back(key_mask_case(form));
  }
  for (const MaskForm& form : mask_forms()) {
    all.push_back(tempting_future_case(form));
  }
  return all;
}

}  // namespace sparity::suites::masking
