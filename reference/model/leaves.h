#pragma once

#include "reference/model/model.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <set>
#include <string>

namespace sparity::reference::model {

/// A model whose trainable tensors (`trainable`) gather gradients: without adapters its parameters,
/// the routers' biases apart; else its adapters' alone. Storage is shared with the original, which
/// stays as it is.
class Leaves {
 public:
  explicit Leaves(const ReferenceModel& model);

  const ReferenceModel& model() const { return model_; }

  /// What has arrived, by the names of `trainable`. Absent where nothing has; but what belongs to
  /// an expert without a token has zeros where another expert of its layer has a gradient.
  std::map<std::string, at::Tensor> gradients() const;

 private:
  std::map<std::string, at::Tensor> leaves_;
  std::set<std::string> experts_;  // which of them belong to routed experts
  ReferenceModel model_;
};

}  // namespace sparity::reference::model
