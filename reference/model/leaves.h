#pragma once

#include "reference/model/model.h"
#include "src/core/tensor_manifest.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace sparity::reference::model {

/// A model whose parameters gather gradients, the routers' biases apart. Storage is shared with the
/// original, which stays as it is.
class Leaves {
 public:
  explicit Leaves(const ReferenceModel& model);

  const ReferenceModel& model() const { return model_; }

  /// What has arrived, by checkpoint name. Absent where nothing has; but an expert without a token
  /// has zeros where another expert of its layer has a gradient.
  std::map<std::string, at::Tensor> gradients() const;

 private:
  core::TensorManifest manifest_;
  ReferenceModel model_;
};

}  // namespace sparity::reference::model
