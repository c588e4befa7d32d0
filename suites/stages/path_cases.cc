#include "suites/stages/path_cases.h"

#include "src/tensors/recorder.h"
#include "suites/cases/gradient_paths.h"
#include "suites/stages/stage_rules.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace sparity::suites::stages {

namespace {

using cases::Arrival;
using cases::Case;
using cases::SuiteContext;
using core::ParameterRole;

enum class Term { kLm, kKl, kBalance };

at::Tensor value_of(Term term, const train::ObjectiveValue& value) {
  switch (term) {
    case Term::kLm:
      return value.lm.loss;
    case Term::kKl:
      return value.kl;
    case Term::kBalance:
      return value.balance;
  }
  return {};
}

/// The stage's forward pass over its own leaves, and one of its losses differentiated.
cases::BackwardTrace differentiate(const SuiteContext& context, const StageRule& rule, Term term) {
  const train::Trainer trainer = trainer_of(context, rule);
  tensors::Recorder recorder({"*.mlp.gate.topk_indices"});
  const at::AutoGradMode recording(true);
  const train::ObjectiveValue value =
      train::evaluate(model::Model(context.config(), trainer.weights()), context.inputs(),
                      trainer.options().forward_options(), tensors::Probe(&recorder));
  value_of(term, value).backward();
  cases::BackwardTrace run{{recorder.order(), recorder.captured()}, {}, {}};
  for (const auto& [name, leaf] : trainer.weights().tensors()) {
    if (leaf.grad().defined()) {
      run.parameters.emplace(name, leaf.grad());
    }
  }
  return run;
}

/// Tokens [B, S] that a term's gradient starts from: for the LM loss those that predict a label.
at::Tensor starting_tokens(const tensors::Inputs& inputs, Term term) {
  at::Tensor tokens = inputs.token_mask.clone();
  if (term == Term::kLm) {
    const std::int64_t last = inputs.labels.size(1) - 1;
    tokens.narrow(1, 0, last).logical_and_(inputs.labels.narrow(1, 1, last).ne(-100));
    tokens.narrow(1, last, 1).fill_(false);
  }
  return tokens;
}

/// "layers.N.mlp.experts.e" of every expert that one of `tokens` chose.
std::set<std::string> chosen_experts(const SuiteContext& context, const cases::BackwardTrace& run,
                                     const at::Tensor& tokens) {
  std::set<std::string> chosen;
  for (std::int64_t layer = 0; layer < context.config().num_hidden_layers; ++layer) {
    const auto found =
        run.trace.tensors.find(fmt::format("layers.{}.mlp.gate.topk_indices", layer));
    if (found == run.trace.tensors.end()) {
      continue;
    }
    const at::Tensor indices =
        found->second.masked_select(tokens.unsqueeze(-1).expand_as(found->second)).contiguous();
    for (std::int64_t i = 0; i < indices.numel(); ++i) {
      chosen.insert(fmt::format("model.layers.{}.mlp.experts.{}.", layer,
                                indices.const_data_ptr<std::int64_t>()[i]));
    }
  }
  return chosen;
}

/// "model.layers.3.mlp.experts.7." of one of its matrices.
std::string expert_of(const std::string& parameter) {
  const std::size_t number = parameter.find(".experts.") + 9;
  return parameter.substr(0, parameter.find('.', number) + 1);
}

/// N of "model.layers.N.…"; −1 of the embedding; the number of layers of what comes after them.
std::int64_t layer_of(const SuiteContext& context, const core::ParameterSpec& parameter) {
  if (parameter.role == ParameterRole::kEmbedding) {
    return -1;
  }
  constexpr std::string_view kPrefix = "model.layers.";
  return parameter.name.starts_with(kPrefix) ? std::stoll(parameter.name.substr(kPrefix.size()))
                                             : context.config().num_hidden_layers;
}

/// The balance loss starts at each router: what comes after the last one never feels it.
bool above_last_router(const SuiteContext& context, const core::ParameterSpec& parameter) {
  std::int64_t last = -1;
  for (std::int64_t layer = 0; layer < context.config().num_hidden_layers; ++layer) {
    last = context.config().is_moe_layer(layer) ? layer : last;
  }
  const std::int64_t own = layer_of(context, parameter);
  const bool beside_router =
      parameter.role == ParameterRole::kExpert || parameter.role == ParameterRole::kSharedExpert;
  return own > last || (own == last && beside_router);
}

/// What a term leaves where. Of an expert that only tokens without a label of their own chose, it
/// is not certain whether it is reached; of a user's model neither whether gradients are other than
/// zero. There what was found is expected, unless it is none.
cases::ExpectedArrival expected_of(const SuiteContext& context, const StageRule& rule, Term term,
                                   const cases::BackwardTrace& run) {
  const at::Tensor& tokens = context.inputs().token_mask;
  return [&context, &run, rule, term, chosen = chosen_experts(context, run, tokens),
          certain = chosen_experts(context, run, starting_tokens(context.inputs(), term))](
             const core::ParameterSpec& parameter) {
    const bool own = is_of_indexer(parameter) == (term == Term::kKl);
    if (!may_change(rule, parameter) || !own || parameter.role == ParameterRole::kRouterBias ||
        (term == Term::kBalance && above_last_router(context, parameter))) {
      return Arrival::kNone;
    }
    const bool expert = parameter.role == ParameterRole::kExpert;
    if (expert && !chosen.contains(expert_of(parameter.name))) {
      return Arrival::kZero;
    }
    const bool open =
        !context.options().embedded || (expert && !certain.contains(expert_of(parameter.name)));
    const bool zeros = cases::arrival_at(run, parameter.name) == Arrival::kZero;
    return open && zeros ? Arrival::kZero : Arrival::kNonZero;
  };
}

void judge_stage(const SuiteContext& context, const StageRule& rule, judge::CaseRecord& record) {
  const std::vector<std::tuple<Term, bool, const char*>> terms = {
      {Term::kLm, rule.model, "LM"},
      {Term::kKl, rule.indexer, "KL"},
      {Term::kBalance, rule.balance, "balance"}};
  for (const auto& [term, wanted, name] : terms) {
    if (wanted) {
      const cases::BackwardTrace run = differentiate(context, rule, term);
      cases::judge_paths(context, fmt::format("{}: {}", core::word_of(rule.stage), name), run,
                         expected_of(context, rule, term, run), record);
    }
  }
}

}  // namespace

std::vector<Case> path_cases() {
  std::vector<Case> all;
  for (const StageRule& rule : kStageRules) {
    all.push_back({"stages", name_of(rule) + "_losses_reach_what_they_train_and_nothing_else",
                   [rule](const SuiteContext& context, judge::CaseRecord& record) {
                     if (!skip_where_not_applicable(context, rule, record)) {
                       judge_stage(context, rule, record);
                     }
                   }});
  }
  return all;
}

}  // namespace sparity::suites::stages
