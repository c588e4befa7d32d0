#include "reference/model/assemble.h"
#include "reference/model/model.h"
#include "src/core/error.h"
#include "src/core/tensor_manifest.h"
#include "src/tensors/at_dtype.h"

#include <map>
#include <string>
#include <utility>

namespace sparity::reference::model {
namespace {

/// The dtype that a parameter is kept in. Only bfloat16 keeps some wider than its activations.
at::ScalarType kept_dtype(const core::ParameterSpec& spec, at::ScalarType compute,
                          core::Recipe recipe) {
  if (compute != at::kBFloat16) {
    return compute;
  }
  return tensors::to_scalar_type(core::stored_dtype(spec, tensors::to_dtype(compute), recipe));
}

}  // namespace

ReferenceModel ReferenceModel::bind(const tensors::WeightStore& store,
                                    const core::ModelConfig& config, at::ScalarType compute,
                                    core::Recipe recipe, std::vector<tensors::Adapter> adapters) {
  SPARITY_CHECK(compute == at::kDouble || compute == at::kFloat || compute == at::kBFloat16,
                "the reference computes in float64, float32 or bfloat16");
  std::map<std::string, at::Tensor> parameters;
  const core::TensorManifest manifest(config);
  for (const core::ParameterSpec& spec : manifest.parameters()) {
    parameters.emplace(spec.name, store.get(spec.name, kept_dtype(spec, compute, recipe)));
  }
  for (tensors::Adapter& adapter : adapters) {
    for (auto& [name, tensor] : adapter.tensors) {
      tensor = tensor.detach().to(tensors::at_least_f32(compute));
    }
  }
  return assemble(config, compute, recipe, std::move(parameters), std::move(adapters));
}

}  // namespace sparity::reference::model
