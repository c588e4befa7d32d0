#pragma once

#include "src/core/forward_options.h"
#include "src/core/tensor_manifest.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace sparity::tensors {

/// Named parameters, exactly those of a manifest.
class WeightStore {
 public:
  /// Throws (exit code 5, starting with `source`) unless names and shapes are the manifest's; the
  /// message lists what is missing, left over or misshapen. MTP tensors must have been set aside
  /// before.
  WeightStore(const core::TensorManifest& manifest, std::map<std::string, at::Tensor> tensors,
              const std::string& source);

  /// The parameter as stored. Throws (exit code 6) when there is none of that name.
  const at::Tensor& at(const std::string& name) const;
  /// The parameter in `type`: a copy unless it is stored so.
  at::Tensor get(const std::string& name, at::ScalarType type) const;
  const std::map<std::string, at::Tensor>& tensors() const { return tensors_; }

  /// Every parameter rounded once to the dtype that a run with `activation` activations stores it
  /// in
  /// (`core::stored_dtype`). Both sides of a comparison bind to the same rounded store; truth
  /// widens it.
  WeightStore rounded(const core::TensorManifest& manifest, core::Dtype activation,
                      core::Recipe recipe) const;

  /// The same numbers as leaves that gather gradients, router biases apart: nothing trains those
  /// by gradient. Shares the storage; nothing is copied.
  WeightStore as_leaves(const core::TensorManifest& manifest) const;

 private:
  std::map<std::string, at::Tensor> tensors_;
};

}  // namespace sparity::tensors
