#include "suites/gradients/path_cases.h"

#include "src/tensors/recorder.h"
#include "suites/gradients/backward_runs.h"

#include <fmt/format.h>

#include <set>

namespace sparity::suites::gradients {

namespace {

using cases::Case;
using cases::SuiteContext;
using core::ParameterRole;

enum class Path { kNone, kZero, kNonZero };

std::string_view words(Path path) {
  switch (path) {
    case Path::kNone:
      return "no gradient";
    case Path::kZero:
      return "a gradient of exact zeros";
    case Path::kNonZero:
      return "a gradient other than zero";
  }
  return "";
}

Path path_of(const cases::BackwardTrace& run, const std::string& name) {
  const auto found = run.parameters.find(name);
  if (found == run.parameters.end()) {
    return Path::kNone;
  }
  return found->second.ne(0).any().item<bool>() ? Path::kNonZero : Path::kZero;
}

/// "model.layers.3.mlp.experts.7.": the part of an expert's parameter that names the expert.
std::string expert_of(const std::string& parameter) {
  const std::size_t number = parameter.find(".experts.") + 9;
  return parameter.substr(0, parameter.find('.', number) + 1);
}

/// Experts that some token which the loss counts was sent to.
std::set<std::string> busy_experts(const SuiteContext& context, const cases::BackwardTrace& run) {
  std::set<std::string> busy;
  const at::Tensor tokens = context.inputs().token_mask.reshape({-1}).nonzero().view({-1});
  for (const auto& [name, choice] : cases::selections_of(run.trace)) {
    const std::size_t end = name.find(".gate.topk_indices");
    if (end == std::string::npos) {
      continue;
    }
    const at::Tensor chosen =
        choice.reshape({tokens.numel() > 0 ? context.inputs().token_mask.numel() : 0, -1})
            .index_select(0, tokens)
            .contiguous();
    const auto* expert = chosen.const_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < chosen.numel(); ++i) {
      busy.insert(fmt::format("model.{}.experts.{}.", name.substr(0, end), expert[i]));
    }
  }
  return busy;
}

Path expected(const core::ParameterSpec& parameter, const std::set<std::string>& busy) {
  switch (parameter.role) {
    case ParameterRole::kIndexer:
    case ParameterRole::kIndexerNormGain:
    case ParameterRole::kIndexerNormBias:
    case ParameterRole::kRouterBias:
      return Path::kNone;
    case ParameterRole::kExpert:
      return busy.contains(expert_of(parameter.name)) ? Path::kNonZero : Path::kZero;
    default:
      return Path::kNonZero;
  }
}

void judge_paths(const SuiteContext& context, judge::CaseRecord& record) {
  // Of random cotangents of every token: a label that nothing predicts would leave paths closed.
  const cases::BackwardPlan plan{.inputs = context.inputs(),
                                 .cotangent = cotangent_for(context, "gradients.paths")};
  const cases::BackwardTrace run = cases::trace_backward(context.candidate(), plan);
  const std::set<std::string> busy = busy_experts(context, run);
  ZeroInTruth zero_in_truth(context, plan, run);
  for (const core::ParameterSpec& parameter : context.checkpoint().manifest.parameters()) {
    Path wanted = expected(parameter, busy);
    const Path found = path_of(run, parameter.name);
    if (wanted == Path::kNonZero && found == Path::kZero &&
        zero_in_truth.parameter(parameter.name)) {
      wanted = Path::kZero;
    }
    record.comparisons.push_back(
        cases::claim_holds(tensors::gradient_name(parameter.name), found == wanted,
                           fmt::format("expected {}, found {}", words(wanted), words(found))));
  }
}

/// A loss that reached the indexer would train it by what it may not see.
void judge_loss_paths(const SuiteContext& context, judge::CaseRecord& record) {
  if (skip_without_labels(context, record)) {
    return;
  }
  const cases::BackwardTrace run =
      cases::trace_backward(context.candidate(), {.inputs = context.inputs()});
  for (const core::ParameterSpec& parameter : context.checkpoint().manifest.parameters()) {
    const bool trained = expected(parameter, {}) != Path::kNone;
    record.comparisons.push_back(cases::claim_holds(
        tensors::gradient_name(parameter.name), run.parameters.contains(parameter.name) == trained,
        trained ? "the LM loss reaches it" : "the LM loss does not reach it"));
  }
}

}  // namespace

std::vector<Case> path_cases() {
  return {
      {"gradients", "reach_the_parameters_they_should_and_no_others", judge_paths},
      {"gradients", "of_the_lm_loss_never_reach_the_indexer", judge_loss_paths},
  };
}

}  // namespace sparity::suites::gradients
