#pragma once

#include "reference/model/model.h"
#include "src/tensors/adapter.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sparity::reference::model {

/// A model of `config` out of parameters, exactly those of its manifest, by checkpoint name, in the
/// dtypes that it is to keep them in, and adapters in f32 or wider; `draw` as `with_dropout` has
/// it. Throws (exit code 6) for a parameter that is missing or left over, and for a pair that
/// changes no linear layer.
ReferenceModel assemble(const core::ModelConfig& config, at::ScalarType compute,
                        core::Recipe recipe, std::map<std::string, at::Tensor> parameters,
                        std::vector<tensors::Adapter> adapters = {},
                        const std::optional<tensors::DropoutDraw>& draw = {});

/// The same model with other parameters: all of them, in the dtypes that it keeps them in.
ReferenceModel with_parameters(const ReferenceModel& model,
                               std::map<std::string, at::Tensor> parameters);

/// What may be trained by gradient: without adapters every parameter but the routers' biases, by
/// checkpoint name; else the adapters' tensors alone, by name in memory
/// (`tensors::name_in_memory`).
std::map<std::string, at::Tensor> trainable(const ReferenceModel& model);

/// The same model with other values in the place of some of its parameters or its adapters'
/// tensors, by the names above, in the dtypes that it keeps them in. Throws (exit code 6) for a
/// name that it does not have.
ReferenceModel with_values(const ReferenceModel& model,
                           const std::map<std::string, at::Tensor>& values);

/// The same model in a training pass, whose draw its adapters' dropout follows.
ReferenceModel with_dropout(const ReferenceModel& model, const tensors::DropoutDraw& draw);

}  // namespace sparity::reference::model
