#pragma once

#include "suites/cases/suite_context.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace sparity::suites::masking {

/// One of the ways in which a caller may say who sees whom.
struct MaskForm {
  std::string name;  // "padded_on_the_left"
  /// Two rows of `tokens` seeded tokens under this mask.
  std::function<tensors::Inputs(const cases::SuiteContext&, std::int64_t tokens)> inputs;
};

/// No mask; token masks with padding on either side; Bool [B,S,S] and [B,1,S,S]; additive masks of
/// finfo.min and −inf. The pair masks hide keys that causality allows, and among them are rows that
/// see nothing at all.
std::vector<MaskForm> mask_forms();

/// Without a mask: every token sees itself and all before it.
MaskForm unmasked();
MaskForm padded_on_the_right();
MaskForm padded_on_the_left();
/// Left padding as a caller leaves it that never sets positions: 0 … S − 1, padding counted.
MaskForm padded_on_the_left_by_column();
/// No mask, positions that leap, and begin elsewhere in the second row.
MaskForm positions_with_gaps();
/// Bool [B, S, S], later keys open too; one row in each sequence sees nothing.
MaskForm scattered_pairs();
/// −inf [B, S, S] before a window and on key 0; query 0 sees nothing.
MaskForm windowed();

/// Tokens for a run of the whole model: more than index_topk where that is small.
std::int64_t model_tokens(const core::ModelConfig& config);

/// Other ids where `where` (Bool [B, S]) is set.
tensors::Inputs with_other_ids(tensors::Inputs inputs, const core::ModelConfig& config,
                               const at::Tensor& where);

/// The context with these inputs.
cases::SuiteContext with_form(const cases::SuiteContext& context, const MaskForm& form);

}  // namespace sparity::suites::masking
