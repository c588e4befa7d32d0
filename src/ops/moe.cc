#include "src/ops/moe.h"

#include "src/core/fault.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

/// (token, slot) pairs in order of expert: pair = token · K + slot.
struct ExpertOrder {
  std::vector<std::int64_t> begin;  // of each expert in `pairs`; E + 1 entries
  at::Tensor pairs;                 // I64 [N · K]
};

ExpertOrder sort_by_expert(const at::Tensor& indices, std::size_t experts) {
  const at::Tensor flat = indices.reshape({-1}).contiguous();
  const auto* expert = flat.const_data_ptr<std::int64_t>();
  ExpertOrder order{std::vector<std::int64_t>(experts + 1, 0),
                    at::empty({flat.numel()}, at::kLong)};
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    ++order.begin[static_cast<std::size_t>(expert[i]) + 1];
  }
  for (std::size_t e = 0; e < experts; ++e) {
    order.begin[e + 1] += order.begin[e];
  }
  std::vector<std::int64_t> next = order.begin;
  auto* pairs = order.pairs.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    pairs[next[static_cast<std::size_t>(expert[i])]++] = i;
  }
  return order;
}

MlpWeights effective(const MlpWeights& expert) {
  return planted(Fault::kF18ExpertWeightsSwapped)
             ? MlpWeights{expert.up_proj, expert.gate_proj, expert.down_proj}
             : expert;
}

}  // namespace

at::Tensor routed_experts(const at::Tensor& x, const Routing& routing,
                          const std::vector<MlpWeights>& experts) {
  const std::int64_t width = x.size(2);
  const std::int64_t slots = routing.indices.size(2);
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  const at::Tensor rows = x.reshape({-1, width});
  const ExpertOrder order = sort_by_expert(routing.indices, experts.size());
  const at::Tensor weights = routing.weights.reshape({-1, 1});
  at::Tensor weighted = at::empty({rows.size(0) * slots, width}, x.options().dtype(wide));
  for (std::size_t e = 0; e < experts.size(); ++e) {
    const std::int64_t count = order.begin[e + 1] - order.begin[e];
    if (count == 0) {
      continue;
    }
    const at::Tensor pairs = order.pairs.narrow(0, order.begin[e], count);
    const at::Tensor tokens = pairs.div(slots, "floor");
    const at::Tensor output = mlp(rows.index_select(0, tokens), effective(experts[e]));
    weighted.index_copy_(0, pairs, output.to(wide).mul(weights.index_select(0, pairs)));
  }
  const at::Tensor by_token = weighted.view({rows.size(0), slots, width});
  at::Tensor sum = at::zeros({rows.size(0), width}, weighted.options());
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    sum.add_(by_token.select(1, slot));
    if (planted(Fault::kF48AccumulatesInBf16)) {
      sum = sum.to(at::kBFloat16).to(wide);
    }
  }
  return sum.view(x.sizes());
}

}  // namespace sparity::ops
