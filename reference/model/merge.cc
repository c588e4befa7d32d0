#include "reference/model/merge.h"

#include "reference/model/linear.h"
#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

namespace sparity::reference::model {

std::map<std::string, at::Tensor> merged(const tensors::WeightStore& store,
                                         const std::vector<tensors::Adapter>& adapters) {
  const at::NoGradGuard detached;
  std::map<std::string, at::Tensor> weights;
  for (const auto& [name, pairs] : tensors::pairs_of(adapters)) {
    const at::Tensor& weight = store.at(name);
    at::ScalarType wide = tensors::at_least_f32(weight.scalar_type());
    for (const tensors::LowRankPair& pair : pairs) {
      wide = c10::promoteTypes(wide, pair.a.scalar_type());
    }
    at::Tensor sum = weight.to(wide);
    for (const tensors::LowRankPair& pair : pairs) {
      sum = sum + weight_change(pair, wide);
    }
    weights.emplace(name, sum.to(weight.scalar_type()));
  }
  return weights;
}

}  // namespace sparity::reference::model
