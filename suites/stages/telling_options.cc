#include "suites/stages/telling_options.h"

#include <string>
#include <utility>

namespace sparity::suites::stages {

using cases::SuiteContext;
using train::TrainOptions;

TrainOptions telling_options(const SuiteContext& context, const StageRule& rule) {
  TrainOptions options = train::defaults_of(rule.stage);
  options.dtype = context.options().dtype;
  options.seed = static_cast<std::int64_t>(context.options().seed);
  options.adamw.learning_rate = 0.05;
  options.adamw.eps = 1e-2;
  options.adamw.weight_decay = 0.3;
  options.clip = rule.model ? kClip : kIndexerClip;
  options.schedule.warmup_steps = 2;
  if (rule.indexer) {
    options.kl.coefficient = 0.3;
    options.indexer_learning_rate = 0.2;
  }
  if (rule.balance) {
    options.balance.coefficient = 0.1;
    options.bias_update_rate = 0.01;
  }
  return options;
}

void add_every_loss(TrainOptions& options) {
  options.kl.detach = core::KlDetach::kQOnly;
  options.balance = {.routing = core::BalanceRouting::kActual,
                     .scope = core::BalanceScope::kBatch,
                     .coefficient = 0.1};
  options.bias_update_rate = 0.01;
  options.recompute_layers = true;
}

std::vector<tensors::Adapter> dropping_adapters(const SuiteContext& context) {
  std::vector<tensors::Adapter> adapters;
  for (const auto& [name, modules] :
       {std::pair("first", std::vector<std::string>{"q_a_proj", "q_b_proj", "o_proj"}),
        std::pair("second", std::vector<std::string>{"indexer.wq_b", "indexer.wk",
                                                     "indexer.weights_proj"})}) {
    core::AdapterConfig config;
    config.r = 3;
    config.lora_alpha = 7;
    config.lora_dropout = 0.3;
    config.target_modules.names = modules;
    adapters.push_back(tensors::seeded_adapter(config, context.checkpoint().manifest, name,
                                               context.options().seed, "suite stages",
                                               /*filled=*/true));
  }
  return adapters;
}

}  // namespace sparity::suites::stages
