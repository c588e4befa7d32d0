#pragma once

#include "suites/judge/error_stats.h"
#include "suites/judge/evidence.h"
#include "suites/judge/gates.h"
#include "suites/judge/tensor.h"

#include <string>
#include <vector>

namespace sparity::judge {

/// A candidate that is judged by how far it is from the truth, beside honest runs in its dtype.
struct RatioSides {
  const TensorClaim& claim;
  const Tensor& candidate;
  std::vector<const Tensor*> honest;  // the baseline first; none: the weaker rule stands in
  const Tensor& truth;
  core::Dtype precision;  // whose roundoff counts
};

struct RatioJudgement {
  std::vector<Gate> gates;
  Allowance allowance;    // of the gates that failed
  std::string undecided;  // why the gates decide nothing; empty when they do
};

/// G1 to G5 of gates.h. `errors` are the candidate's.
RatioJudgement judge_ratios(const RatioSides& sides, const ErrorStats& errors);

}  // namespace sparity::judge
