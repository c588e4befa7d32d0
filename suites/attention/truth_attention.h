#pragma once

#include "suites/cases/suite_context.h"
#include "suites/cases/trace.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace sparity::suites {

/// The probabilities behind a traced layer's attention, one head at a time, in float64: what the
/// harness weighs flips and judges its own inputs by. Never a side of a comparison.
class TruthAttention {
 public:
  /// `truth` holds layer `layer` of a sparse run of the reference in float64.
  TruthAttention(const cases::SuiteContext& context, const cases::Trace& truth, std::int64_t layer);

  /// P[b,s,t] = exp(scale·<q, k> − lse) on the support, [B, S, T].
  at::Tensor probabilities(std::int64_t head) const;

  /// Their mean over the heads, [B, S, T].
  at::Tensor mean_probabilities() const;

  /// Entropy of each row over the log of its number of keys: one per head and row of more than one
  /// key.
  std::vector<double> entropy_shares() const;

 private:
  at::Tensor q_;          // [B, S, H, Dqk]
  at::Tensor kv_;         // [B, T, Rkv]
  at::Tensor k_rot_;      // [B, T, Dr]
  at::Tensor kv_b_proj_;  // [H, Dn+Dv, Rkv]
  at::Tensor lse_;        // [B, S, H]
  at::Tensor support_;    // Bool [B, S, T]
  double scale_;
};

}  // namespace sparity::suites
