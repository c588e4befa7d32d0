#pragma once

#include "src/tensors/inputs.h"
#include "suites/cases/case.h"

#include <cstdint>

namespace sparity::suites {

/// Scores [B, S, T] and the keys chosen by them [B, S, min(k, T)], as outputs
/// "indexer.topk_indices" and "indexer.scores": the choice first, so that a wrong choice is named
/// as one. Operands are q [B, S, Hi, Di], k [B, T, Di] and w [B, S, Hi].
cases::Outputs candidate_choice(const cases::TensorMap& operands, const tensors::Inputs& inputs,
                                std::int64_t k);
cases::Outputs reference_choice(const cases::TensorMap& operands, const tensors::Inputs& inputs,
                                std::int64_t k);

}  // namespace sparity::suites
