#pragma once

#include "src/tensors/adapter.h"
#include "src/tensors/weight_store.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace sparity::reference::model {

/// The weights that adapters change, with the change in them: W + Σ scaling · B · A over the pairs
/// of each, in the widest of W, f32 and the pairs, rounded once to W's dtype. By checkpoint name;
/// weights that nothing changes are absent. No gradient. Spec build-ground 4.1.
std::map<std::string, at::Tensor> merged(const tensors::WeightStore& store,
                                         const std::vector<tensors::Adapter>& adapters);

}  // namespace sparity::reference::model
