#pragma once

#include "reference/model/model.h"

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

namespace sparity::reference::model {

/// Where a parameter comes from, by its checkpoint name.
using Take = std::function<at::Tensor(const std::string& name)>;

/// A model of `config` out of what `take` gives for each parameter, asked for once each. Its list
/// of `parameters` stays empty.
ReferenceModel assemble(const core::ModelConfig& config, at::ScalarType compute,
                        core::Recipe recipe, const Take& take);

}  // namespace sparity::reference::model
