#include "suites/stages/step_cases.h"

#include "src/model/mla.h"
#include "src/ops/rope.h"
#include "src/tensors/recorder.h"
#include "suites/stages/stage_rules.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <fmt/format.h>

#include <string>
#include <utility>

namespace sparity::suites::stages {

namespace {

using cases::Case;
using cases::SuiteContext;

/// What an optimizer remembers of the parameter; null where none trains it.
const train::AdamWState* state_of(const train::Trainer& trainer, const std::string& parameter) {
  for (const train::OptimizerGroup& group : trainer.groups()) {
    const auto found = group.optimizer.state().find(parameter);
    if (found != group.optimizer.state().end()) {
      return &found->second;
    }
  }
  return nullptr;
}

/// A step, weight decay included, leaves the bytes of whatever the stage does not train, which
/// takes no gradient and is in no optimizer; it changes everything else.
void judge_step(const SuiteContext& context, const StageRule& rule, judge::CaseRecord& record) {
  train::Trainer trainer = trainer_of(context, rule);
  trainer.step({context.inputs()});
  for (const core::ParameterSpec& parameter : context.checkpoint().manifest.parameters()) {
    const bool wanted = may_change(rule, parameter);
    const bool by_gradient = wanted && parameter.role != core::ParameterRole::kRouterBias;
    const at::Tensor& after = trainer.weights().at(parameter.name);
    const train::AdamWState* state = state_of(trainer, parameter.name);
    // Decay alone, of an idle expert, is less than the last bit of a bfloat16: the master has it.
    const at::Tensor seen = state != nullptr ? state->master : after.detach();
    const bool changed =
        !at::equal(seen, context.weights().at(parameter.name).to(seen.scalar_type()));
    // A user's parameter may be all zeros, and stay so.
    const bool as_wanted = changed == wanted || (wanted && !context.options().embedded);
    const bool holds =
        as_wanted && after.requires_grad() == by_gradient && (state != nullptr) == by_gradient;
    record.comparisons.push_back(cases::claim_holds(
        parameter.name, holds,
        fmt::format("expected {}; found {}, requires_grad {}, in an optimizer: {}",
                    wanted ? "to be trained" : "to be frozen", changed ? "changed" : "unchanged",
                    after.requires_grad(), state != nullptr)));
  }
}

/// Every layer's choice of keys after some steps is that of the indexer as it was read, on the
/// same activations.
void judge_frozen_choice(const SuiteContext& context, judge::CaseRecord& record) {
  const StageRule& rule = kFrozenIndexerRule;
  if (skip_where_not_applicable(context, rule, record)) {
    return;
  }
  train::Trainer trainer = trainer_of(context, rule);
  for (int step = 0; step < 3; ++step) {
    trainer.step({context.inputs()});
  }
  const at::NoGradGuard no_gradients;
  tensors::Recorder recorder({"*.input_layernorm", "*.q_a_layernorm", "*.indexer.topk_indices"});
  model::Model(context.config(), trainer.weights())
      .forward(context.inputs(), trainer.options().forward_options(), tensors::Probe(&recorder));
  const model::ForwardContext forward{
      context.config(),
      core::AttentionMode::kSparse,
      false,
      ops::KeyMask(context.inputs()),
      ops::rotary_table(context.config(), context.inputs().position_ids, context.activation()),
      {}};
  for (std::int64_t layer = 0; layer < context.config().num_hidden_layers; ++layer) {
    const std::string prefix = fmt::format("layers.{}.", layer);
    const auto seen = [&](const char* name) { return recorder.captured().at(prefix + name); };
    const model::Indexer indexer =
        model::Indexer::bind(context.weights(), "model." + prefix + "self_attn.indexer.");
    const ops::IndexOperands operands =
        indexer.operands(seen("input_layernorm"), seen("self_attn.q_a_layernorm"), forward, {});
    record.comparisons.push_back(cases::compare_bits(
        prefix + "self_attn.indexer.topk_indices", seen("self_attn.indexer.topk_indices"),
        model::Indexer::select(operands, forward, {})));
  }
}

}  // namespace

std::vector<Case> step_cases() {
  std::vector<Case> all;
  for (const StageRule& rule : kStageRules) {
    all.push_back({"stages", name_of(rule) + "_changes_what_it_trains_and_nothing_else",
                   [rule](const SuiteContext& context, judge::CaseRecord& record) {
                     if (!skip_where_not_applicable(context, rule, record)) {
                       judge_step(context, rule, record);
                     }
                   }});
  }
  all.push_back(
      {"stages", "frozen_indexer_sft_selects_as_the_frozen_indexer_would", judge_frozen_choice});
  return all;
}

}  // namespace sparity::suites::stages
