#include "suites/lora/dual_cases.h"

#include "src/train/trainer.h"
#include "suites/cases/gradient_paths.h"
#include "suites/cases/skips.h"
#include "suites/lora/adapted.h"
#include "suites/training/objective_runs.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/where.h>
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

namespace sparity::suites::lora {

namespace {

using cases::Case;
using cases::SuiteContext;
using train::Stage;

enum class Start { kNew, kFilled };

/// On everything but the indexer, and on the indexer alone.
std::vector<tensors::Adapter> dual_adapters(const SuiteContext& context, Start start,
                                            double dropout = 0.0) {
  std::vector<std::string> model = {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj"};
  if (dropout == 0.0) {
    model = attention_modules();
    const std::vector<std::string> others = other_modules(context);
    model.insert(model.end(), others.begin(), others.end());
  }
  std::vector<tensors::Adapter> adapters;
  for (const auto& [name, modules] : {std::pair(std::string("llm"), model),
                                      std::pair(std::string("indexer"), indexer_modules())}) {
    core::AdapterConfig config = config_on(modules);
    config.lora_dropout = dropout;
    adapters.push_back(tensors::seeded_adapter(config, context.checkpoint().manifest, name,
                                               context.options().seed, "suite lora",
                                               start == Start::kFilled));
  }
  return adapters;
}

train::Trainer trainer_of(const SuiteContext& context, Stage stage,
                          const std::vector<tensors::Adapter>& adapters,
                          bool recompute_layers = false) {
  train::TrainOptions options = train::defaults_of(stage);
  options.dtype = context.options().dtype;
  options.indexer_learning_rate = 3e-3;
  options.clip = 0.5;
  options.adamw.weight_decay = 0.0;  // which moves what no gradient moves
  options.clip_scope = train::ClipScope::kGroup;
  options.recompute_layers = recompute_layers;
  train::settle(options);
  return train::Trainer(context.checkpoint(), options, adapters);
}

/// Every tensor of every adapter, by name in memory.
std::map<std::string, at::Tensor> values_of(const train::Trainer& trainer) {
  std::map<std::string, at::Tensor> values;
  for (const tensors::Adapter& adapter : trainer.adapters()) {
    for (const auto& [name, leaf] : adapter.tensors) {
      values.emplace(tensors::name_in_memory(name, adapter.name), leaf.detach().clone());
    }
  }
  return values;
}

/// Tensors of routed experts, which stay as they are where no token comes.
std::set<std::string> idle_allowed(const train::Trainer& trainer) {
  std::set<std::string> names;
  for (const tensors::Adapter& adapter : trainer.adapters()) {
    for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
      if (tensor.role == core::ParameterRole::kExpert) {
        names.insert(tensors::name_in_memory(tensor.name, adapter.name));
      }
    }
  }
  return names;
}

/// What stands before ".lora_A" or ".lora_B".
std::string module_of(const std::string& tensor) { return tensor.substr(0, tensor.find(".lora_")); }

/// Of every pair whether its B, new and zero, takes a gradient other than zero, which moves B in
/// the first step and A in the second: by the name of the pair's module in memory. Not set where
/// the gradient is what cancellation leaves.
std::map<std::string, std::optional<bool>> pairs_that_learn(
    const SuiteContext& bare, const std::vector<tensors::Adapter>& adapters) {
  const SuiteContext context = bare.with_adapters(adapters);
  const auto trace = [&](const cases::BoundModel& side, const cases::Forced& choices) {
    return training::trace_objective(context, side, core::AttentionMode::kSparse,
                                     {.kl = core::KlOptions()}, choices)
        .shown;
  };
  const cases::BackwardTrace truth =
      trace(context.truth(), cases::selections_of(trace(context.candidate(), {}).trace));
  std::map<std::string, std::optional<bool>> learning;
  for (const tensors::Adapter& adapter : adapters) {
    for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
      const std::string name = tensors::name_in_memory(tensor.name, adapter.name);
      if (!tensor.is_a) {
        learning.emplace(module_of(name),
                         cases::is_residue(truth, name)
                             ? std::nullopt
                             : std::optional(cases::arrival_where_reached(context, truth, name) ==
                                             cases::Arrival::kNonZero));
      }
    }
  }
  return learning;
}

/// Two steps change every tensor of both adapters that learns and no byte of the model; each
/// adapter has an optimizer, a rate and a norm of its own.
void judge_steps(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const std::vector<tensors::Adapter> adapters = dual_adapters(context, Start::kNew);
  const std::map<std::string, std::optional<bool>> learning = pairs_that_learn(context, adapters);
  train::Trainer trainer = trainer_of(context, Stage::kDualLora, adapters);
  const std::map<std::string, at::Tensor> before = values_of(trainer);
  train::StepReport report;
  for (int step = 0; step < 2; ++step) {
    report = trainer.step({context.inputs()});
  }
  const std::set<std::string> idle = idle_allowed(trainer);
  std::map<std::string, bool> group_learns;
  for (const auto& [name, value] : values_of(trainer)) {
    if (!learning.at(module_of(name))) {
      continue;
    }
    const bool learns = *learning.at(module_of(name));
    bool& group =
        group_learns[name.find(".indexer.weight") != std::string::npos ? "indexer" : "model"];
    group = group || learns;
    record.comparisons.push_back(cases::claim_holds(
        name, idle.contains(name) || at::equal(value, before.at(name)) != learns,
        learns ? "two steps change it" : "no gradient arrives and no step changes it"));
  }
  for (const auto& [name, weight] : trainer.weights().tensors()) {
    record.comparisons.push_back(cases::claim_holds(
        name, at::equal(weight, context.weights().at(name)) && !weight.requires_grad(),
        "the weight keeps its bytes and takes no gradient"));
  }
  trainer.check_frozen();
  const auto group = [&](const char* name, double rate) {
    const bool there = report.learning_rates.contains(name) && report.group_norms.contains(name);
    record.comparisons.push_back(
        cases::claim_holds(fmt::format("optimizer {}", name),
                           there && report.learning_rates.at(name) == rate &&
                               (report.group_norms.at(name) > 0.0) == group_learns[name],
                           fmt::format("with a rate of {} and a norm of its own", rate)));
  };
  group("model", trainer.options().adamw.learning_rate);
  group("indexer", 3e-3);
}

/// The first step of both together is that of each alone, bit for bit: while B is zero, neither
/// changes what the other sees, and no gradient passes between them.
void judge_each_alone(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const std::vector<tensors::Adapter> adapters = dual_adapters(context, Start::kNew);
  train::Trainer both = trainer_of(context, Stage::kDualLora, adapters);
  train::Trainer model = trainer_of(context, Stage::kSparse, {adapters[0]});
  train::Trainer indexer = trainer_of(context, Stage::kSparse, {adapters[1]});
  for (train::Trainer* trainer : {&both, &model, &indexer}) {
    trainer->step({context.inputs()});
  }
  std::map<std::string, at::Tensor> alone = values_of(model);
  alone.merge(values_of(indexer));
  const std::map<std::string, at::Tensor> together = values_of(both);
  record.comparisons.push_back(
      cases::claim_holds("adapters", together.size() == alone.size(), "as many tensors"));
  for (const auto& [name, value] : together) {
    record.comparisons.push_back(cases::compare_bits(name, value, alone.at(name)));
  }
}

/// While both adapters are on, the first step of one does not depend on how the other learns: the
/// model's not on KL's coefficient and rate, the indexer's not on the LM loss's labels.
void judge_apart(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const std::vector<tensors::Adapter> adapters = dual_adapters(context, Start::kFilled);
  const auto stepped = [&](double coefficient, double rate, const tensors::Inputs& inputs) {
    train::TrainOptions options = train::defaults_of(Stage::kDualLora);
    options.dtype = context.options().dtype;
    options.kl.coefficient = coefficient;
    options.indexer_learning_rate = rate;
    train::settle(options);
    train::Trainer trainer(context.checkpoint(), options, adapters);
    trainer.step({inputs});
    return values_of(trainer);
  };
  tensors::Inputs other_labels = context.inputs();
  other_labels.labels =
      at::where(other_labels.labels.ge(0), other_labels.labels.bitwise_xor(1), other_labels.labels)
          .clamp_max(context.config().vocab_size - 1);
  const auto plain = stepped(1.0, 1e-3, context.inputs());
  const auto other_kl = stepped(0.25, 5e-3, context.inputs());
  const auto other_lm = stepped(1.0, 1e-3, other_labels);
  std::int64_t moved = 0;
  for (const auto& [name, value] : plain) {
    const bool indexer = name.find(".indexer.weight") != std::string::npos;
    record.comparisons.push_back(
        cases::compare_bits(name, indexer ? other_lm.at(name) : other_kl.at(name), value));
    moved += at::equal(indexer ? other_kl.at(name) : other_lm.at(name), value) ? 0 : 1;
  }
  record.comparisons.push_back(
      cases::claim_holds("adapters", moved > 0, "each does depend on its own loss"));
}

/// Running layers again on the way back changes no bit, dropout included: it draws the same.
void judge_recomputed(const SuiteContext& context, Stage stage,
                      const std::vector<tensors::Adapter>& adapters, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  train::Trainer kept = trainer_of(context, stage, adapters);
  train::Trainer again = trainer_of(context, stage, adapters, true);
  for (int step = 0; step < 2; ++step) {
    kept.step({context.inputs()});
    again.step({context.inputs()});
  }
  const std::map<std::string, at::Tensor> expected = values_of(kept);
  for (const auto& [name, value] : values_of(again)) {
    record.comparisons.push_back(cases::compare_bits(name, value, expected.at(name)));
  }
}

}  // namespace

std::vector<Case> dual_cases() {
  return {
      {"lora", "dual_lora_trains_both_and_nothing_else", judge_steps},
      {"lora", "dual_lora_first_step_is_that_of_each_alone", judge_each_alone},
      {"lora", "dual_lora_steps_do_not_depend_on_each_other", judge_apart},
      {"lora", "dual_lora_recomputes_the_same_bits",
       [](const SuiteContext& context, judge::CaseRecord& record) {
         judge_recomputed(context, Stage::kDualLora, dual_adapters(context, Start::kFilled, 0.3),
                          record);
       }},
      {"lora", "adapters_on_the_model_alone_recompute_the_same_bits",
       [](const SuiteContext& context, judge::CaseRecord& record) {
         judge_recomputed(context, Stage::kSparse, {dual_adapters(context, Start::kFilled)[0]},
                          record);
       }},
      {"lora", "adapters_on_some_indexers_recompute_the_same_bits",
       [](const SuiteContext& context, judge::CaseRecord& record) {
         core::AdapterConfig config = config_on(indexer_modules());
         config.layers_to_transform = {0};
         judge_recomputed(context, Stage::kIndexerOnly, {filled_adapter(context, config)}, record);
       }},
  };
}

}  // namespace sparity::suites::lora
