#include "reference/model/mask.h"

#include "src/core/error.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

namespace sparity::reference::model {

at::Tensor valid_pairs(const tensors::Inputs& inputs) {
  const at::Tensor& token = inputs.token_mask;
  const at::Tensor index = at::arange(token.size(1), inputs.input_ids.options());
  const at::Tensor causal = index.unsqueeze(0) <= index.unsqueeze(1);  // [S, T]
  const at::Tensor valid = causal & token.unsqueeze(1) & token.unsqueeze(2);
  return inputs.pair_mask.defined() ? valid & inputs.pair_mask : valid;
}

at::Tensor support(const at::Tensor& indices, std::int64_t keys) {
  if (indices.numel() > 0) {
    const auto lowest = indices.min().item<std::int64_t>();
    const auto highest = indices.max().item<std::int64_t>();
    SPARITY_CHECK_INPUT(lowest >= -1 && highest < keys,
                        fmt::format("topk_indices: expected key indices in -1 … {}, found {} … {}",
                                    keys - 1, lowest, highest));
  }
  // A column of its own takes what selects nothing.
  const at::Tensor columns = at::where(indices < 0, keys, indices);
  at::Tensor selected =
      at::zeros({indices.size(0), indices.size(1), keys + 1}, indices.options().dtype(at::kBool));
  return selected.scatter_(-1, columns, true).narrow(-1, 0, keys);
}

}  // namespace sparity::reference::model
