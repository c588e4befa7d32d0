#pragma once

#include "src/core/objective.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sparity::ops {

/// Some rows of the indexer's KL loss over C columns of keys, whatever keys those are.
struct KlColumns {
  at::Tensor scores;  // I [R, C] in f32(A), −inf where q has no key
  at::Tensor heads;   // Σ_h P[h] [R, C] in f32(A), 0 outside the support
};

/// What a target is made of besides its columns.
struct KlRowRule {
  core::KlOptions options;
  std::int64_t heads = 1;                  // H
  at::ScalarType activation = at::kFloat;  // A
};

/// Turns `columns.heads` into the target p, in place (spec 4.2, 4.5): divided by H, which is the
/// sum of every head's softmax, or, for the renormalised target, by its own sum. A row of zeros
/// stays one.
void to_target(const KlRowRule& rule, const at::Tensor& heads);

/// KL_t = Σ p (ln p − ln q) of every row, q = softmax of the scores: to `rows` [R], which must be
/// contiguous. `columns.heads` holds the target. Where `gradient` is true the scores are
/// overwritten by dKL_t/dI = q · Σ w − w, with w = p but for the guards (spec 4.2). Terms with p =
/// 0 are 0. Sums in float64, rounded to f32(A) once.
void kl_of_rows(const KlRowRule& rule, const KlColumns& columns, bool gradient,
                const at::Tensor& rows);

}  // namespace sparity::ops
