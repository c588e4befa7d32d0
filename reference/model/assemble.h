#pragma once

#include "reference/model/model.h"

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>

namespace sparity::reference::model {

/// Where a parameter comes from, by its checkpoint name.
using Take = std::function<at::Tensor(const std::string& name)>;

/// A model of `config` out of what `take` gives for each parameter, asked for once each. Its list
/// of `parameters` stays empty.
ReferenceModel assemble(const core::ModelConfig& config, at::ScalarType compute,
                        core::Recipe recipe, const Take& take);

/// The same model with other parameters: all of them, in the dtypes that it keeps them in.
ReferenceModel with_parameters(const ReferenceModel& model,
                               std::map<std::string, at::Tensor> parameters);

}  // namespace sparity::reference::model
