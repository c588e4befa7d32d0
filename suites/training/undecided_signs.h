#pragma once

#include "suites/training/objective_runs.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

namespace sparity::suites::training {

/// Index products a[h,s,t] = <q[h,s], k[t]> so close to ReLU's kink that this dtype cannot tell
/// their sign: |a| ≤ 8·σ·‖q‖·‖k‖, with σ the rms of what the baseline's products err by, in the
/// same units. Where the sign differs, the gradient jumps by the product's whole term.
struct UndecidedSigns {
  std::int64_t products = 0;   // that gradients of the KL loss pass through
  std::int64_t undecided = 0;  // among them
  /// By parameter, what they may add to its gradient: Σ over undecided products of |its term|, each
  /// passed through the truth's way back by itself. Of layers with more than 32 of them nothing:
  /// the baseline's own signs differ often enough to show what they do.
  std::map<std::string, at::Tensor> slack;
};

/// Of the KL loss in `objective`, along the choices that `truth` ran with. `baseline` and `truth`
/// hold the traces of the indexer.
UndecidedSigns undecided_signs(const cases::SuiteContext& context, core::AttentionMode mode,
                               const core::Objective& objective, const ObjectiveTrace& baseline,
                               const ObjectiveTrace& truth);

}  // namespace sparity::suites::training
