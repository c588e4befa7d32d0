#include "suites/lora/adapted.h"

#include <algorithm>
#include <utility>

namespace sparity::suites::lora {

using cases::SuiteContext;

std::vector<std::string> attention_modules() {
  return {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"};
}

std::vector<std::string> indexer_modules() {
  return {"indexer.wq_b", "indexer.wk", "indexer.weights_proj"};
}

std::vector<std::string> other_modules(const SuiteContext& context) {
  std::vector<std::string> modules = {"gate_proj", "up_proj", "down_proj", "lm_head"};
  if (context.first_moe_layer() >= 0) {
    modules.emplace_back("mlp.gate");
  }
  return modules;
}

std::vector<std::string> every_module(const SuiteContext& context) {
  std::vector<std::string> all = attention_modules();
  for (const std::vector<std::string>& part : {indexer_modules(), other_modules(context)}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

core::AdapterConfig config_on(std::vector<std::string> modules) {
  core::AdapterConfig config;
  config.r = 3;
  config.lora_alpha = 7;
  config.target_modules.names = std::move(modules);
  return config;
}

tensors::Adapter filled_adapter(const SuiteContext& context, const core::AdapterConfig& config,
                                const std::string& name) {
  return tensors::seeded_adapter(config, context.checkpoint().manifest, name,
                                 context.options().seed, "suite lora", /*filled=*/true);
}

}  // namespace sparity::suites::lora
