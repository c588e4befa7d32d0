#include "suites/stages/stage_rules.h"

#include "suites/cases/skips.h"

#include <algorithm>
#include <map>
#include <utility>

namespace sparity::suites::stages {

using core::ParameterRole;

std::string name_of(const StageRule& rule) {
  std::string name(core::word_of(rule.stage));
  std::ranges::replace(name, '-', '_');
  return name;
}

bool is_of_indexer(const core::ParameterSpec& parameter) {
  return parameter.name.find(".indexer.") != std::string::npos;
}

bool may_change(const StageRule& rule, const core::ParameterSpec& parameter) {
  if (parameter.role == ParameterRole::kRouterBias) {
    return rule.balance;
  }
  return is_of_indexer(parameter) ? rule.indexer : rule.model;
}

bool skip_where_not_applicable(const cases::SuiteContext& context, const StageRule& rule,
                               judge::CaseRecord& record) {
  return (rule.model && cases::skip_without_labels(context, record)) ||
         (rule.balance && cases::skip_without_experts(context, record));
}

train::Trainer trainer_of(const cases::SuiteContext& context, const train::TrainOptions& options,
                          const std::vector<tensors::Adapter>& adapters) {
  const tensors::Checkpoint& shared = context.checkpoint();
  std::map<std::string, at::Tensor> copies;
  for (const auto& [name, tensor] : shared.weights.tensors()) {
    copies.emplace(name, tensor.clone());
  }
  return train::Trainer({shared.config,
                         shared.manifest,
                         tensors::WeightStore(shared.manifest, std::move(copies), "copies"),
                         {}},
                        options, adapters);
}

train::Trainer trainer_of(const cases::SuiteContext& context, const StageRule& rule) {
  train::TrainOptions options = train::defaults_of(rule.stage);
  options.dtype = context.options().dtype;
  train::settle(options);
  return trainer_of(context, options);
}

}  // namespace sparity::suites::stages
