#include "src/lora/merge.h"

#include "src/core/error.h"
#include "src/ops/linear.h"
#include "src/tensors/at_dtype.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>

namespace sparity::lora {

namespace {

std::vector<tensors::LowRankPair> in_dtype(std::vector<tensors::LowRankPair> pairs,
                                           at::ScalarType type, MergeDirection direction) {
  for (tensors::LowRankPair& pair : pairs) {
    pair.a = pair.a.to(type);
    pair.b = pair.b.to(type);
    pair.scaling = direction == MergeDirection::kMerge ? pair.scaling : -pair.scaling;
  }
  return pairs;
}

}  // namespace

tensors::Checkpoint merged(const tensors::Checkpoint& checkpoint,
                           const std::vector<tensors::Adapter>& adapters,
                           MergeDirection direction) {
  const at::NoGradGuard no_gradients;
  std::map<std::string, at::Tensor> weights = checkpoint.weights.tensors();
  for (const auto& [parameter, pairs] : tensors::pairs_of(adapters)) {
    at::Tensor& weight = weights.at(parameter);
    const at::ScalarType wide = tensors::at_least_f32(weight.scalar_type());
    const at::Tensor changed =
        ops::effective_weight({weight, in_dtype(pairs, wide, direction)}).to(weight.scalar_type());
    SPARITY_CHECK_INPUT(
        at::isfinite(changed).all().item().toBool(),
        fmt::format("{}: expected finite weights after merging, found others: the adapter or the "
                    "weight is broken, or the sum is too large for {}",
                    parameter, core::to_string(tensors::to_dtype(weight.scalar_type()))));
    weight = changed;
  }
  return {checkpoint.config,
          checkpoint.manifest,
          tensors::WeightStore(checkpoint.manifest, std::move(weights), "merged weights"),
          {}};
}

}  // namespace sparity::lora
