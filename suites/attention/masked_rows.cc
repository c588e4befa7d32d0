#include "suites/attention/masked_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace sparity::suites {

tensors::Inputs masked_rows(const std::vector<std::int64_t>& lengths, std::int64_t tokens) {
  const auto rows = static_cast<std::int64_t>(lengths.size());
  const at::Tensor columns = at::arange(tokens, at::kLong).unsqueeze(0);
  return {.input_ids = at::zeros({rows, tokens}, at::kLong),
          .token_mask = columns < at::tensor(lengths, at::kLong).unsqueeze(1),
          .position_ids = columns.repeat({rows, 1}),
          .labels = {},
          .pair_mask = {},
          .warnings = {}};
}

}  // namespace sparity::suites
