#pragma once

#include "src/core/adapter_config.h"
#include "src/tensors/adapter.h"
#include "suites/cases/suite_context.h"

#include <string>
#include <vector>

namespace sparity::suites::lora {

/// Modules by the ends of their names, as `target_modules` takes them; those that the model has.
std::vector<std::string> attention_modules();
std::vector<std::string> indexer_modules();
/// Dense, shared and routed MLPs, routers and head.
std::vector<std::string> other_modules(const cases::SuiteContext& context);
/// All of the above.
std::vector<std::string> every_module(const cases::SuiteContext& context);

/// Rank 3 and alpha 7: neither their ratio nor a product with anything near is 1.
core::AdapterConfig config_on(std::vector<std::string> modules);

/// A seeded adapter whose B is not zero.
tensors::Adapter filled_adapter(const cases::SuiteContext& context,
                                const core::AdapterConfig& config,
                                const std::string& name = "default");

}  // namespace sparity::suites::lora
