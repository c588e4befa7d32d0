#pragma once

#include "src/tensors/inputs.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sparity::reference::model {

/// Which key each query may attend to, before any selection: Bool [B, S, S], true where the key's
/// index is not above the query's, both are tokens, and `pair_mask` (where given) allows it. Rows
/// of padded queries are all false. Always materialised (D-14). Spec 4.2.
at::Tensor valid_pairs(const tensors::Inputs& inputs);

/// The set that selected indices I64 [B, S, k] stand for, as Bool [B, S, T]. −1 stands for nothing
/// (D-17). Throws (exit code 5) for an index outside −1 … T−1: selections can come from a file.
at::Tensor support(const at::Tensor& indices, std::int64_t keys);

}  // namespace sparity::reference::model
