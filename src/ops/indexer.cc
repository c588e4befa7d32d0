#include "src/ops/indexer.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/linear.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/cat.h>

#include <bit>
#include <cmath>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

}  // namespace

at::Tensor rotate_index_heads(const at::Tensor& x, const RotaryTable& table) {
  const std::int64_t rope = 2 * table.cos_sin.size(2);
  if (planted(Fault::kF109IndexRopeOnLastChannels)) {
    const std::int64_t rest = x.size(-1) - rope;
    return at::cat({x.narrow(-1, 0, rest), rotate_half_split(x.narrow(-1, rest, rope), table)}, -1);
  }
  const at::Tensor rotated = rotate_half_split(x.narrow(-1, 0, rope), table);
  return at::cat({rotated, x.narrow(-1, rope, x.size(-1) - rope)}, -1);
}

at::Tensor hadamard(const at::Tensor& x) {
  const std::int64_t n = x.size(-1);
  SPARITY_CHECK(std::has_single_bit(static_cast<std::uint64_t>(n)),
                "hadamard: the last dimension is not a power of two");
  at::Tensor y = x.to(tensors::at_least_f32(x.scalar_type())).clone(at::MemoryFormat::Contiguous);
  for (std::int64_t half = 1; half < n; half *= 2) {
    const at::Tensor pairs = y.view({-1, n / (2 * half), 2, half});
    const at::Tensor low = pairs.select(2, 0);
    const at::Tensor high = pairs.select(2, 1);
    const at::Tensor sum = low.add(high);
    high.copy_(low.sub(high));
    low.copy_(sum);
  }
  if (!planted(Fault::kF44HadamardUnnormalised)) {
    y.mul_(1.0 / std::sqrt(static_cast<double>(n)));
  }
  return y;
}

at::Tensor index_head_weights(const at::Tensor& x, const LinearWeight& weights_proj,
                              std::int64_t index_head_dim,
                              const std::optional<tensors::DropoutDraw>& draw) {
  const auto heads = static_cast<double>(
      planted(Fault::kF46HeadWeightScaleMissing) ? std::int64_t{1} : weights_proj.base.size(0));
  const double scale = 1.0 / std::sqrt(heads * static_cast<double>(index_head_dim));
  return wide_linear(x, weights_proj, draw).mul(scale);
}

}  // namespace sparity::ops
