#pragma once

#include "src/ops/linear.h"
#include "src/tensors/adapter.h"
#include "src/tensors/weight_store.h"

#include <ATen/core/Tensor.h>

#include <string>

namespace sparity::model {

/// A model's parameters and what adapters put on them, by checkpoint name.
class BoundWeights {
 public:
  /// Both must outlive this.
  BoundWeights(const tensors::WeightStore& store, const tensors::AdapterPairs& pairs)
      : store_(store), pairs_(pairs) {}

  /// Without adapters.
  BoundWeights(const tensors::WeightStore& store) : BoundWeights(store, no_pairs()) {}

  const at::Tensor& at(const std::string& name) const { return store_.at(name); }

  ops::LinearWeight linear(const std::string& name) const {
    const auto found = pairs_.find(name);
    return found == pairs_.end() ? ops::LinearWeight(store_.at(name))
                                 : ops::LinearWeight(store_.at(name), found->second);
  }

 private:
  static const tensors::AdapterPairs& no_pairs() {
    static const tensors::AdapterPairs none;
    return none;
  }

  const tensors::WeightStore& store_;
  const tensors::AdapterPairs& pairs_;
};

}  // namespace sparity::model
