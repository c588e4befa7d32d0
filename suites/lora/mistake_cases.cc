#include "suites/lora/mistake_cases.h"

#include "src/core/error.h"
#include "src/train/adamw.h"
#include "src/train/objective.h"
#include "src/train/stage.h"
#include "suites/cases/gradient_paths.h"
#include "suites/cases/skips.h"
#include "suites/lora/adapted.h"
#include "suites/training/objective_runs.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <string>

namespace sparity::suites::lora {

namespace {

using cases::Arrival;
using cases::Case;
using cases::SuiteContext;

/// The candidate with an adapter on attention and one on the indexer, gathering gradients.
struct Dual {
  std::vector<tensors::Adapter> adapters;
  model::Model model;

  explicit Dual(const SuiteContext& context)
      : adapters(leaves(context)),
        model(context.config(), context.weights(), tensors::pairs_of(adapters)) {}

  static std::vector<tensors::Adapter> leaves(const SuiteContext& context) {
    const at::ScalarType wide = context.activation() == at::kDouble ? at::kDouble : at::kFloat;
    return {
        tensors::as_leaves(filled_adapter(context, config_on(attention_modules()), "llm"), wide),
        tensors::as_leaves(filled_adapter(context, config_on(indexer_modules()), "indexer"), wide)};
  }

  /// By name in memory.
  std::map<std::string, at::Tensor> tensors(std::size_t adapter) const {
    std::map<std::string, at::Tensor> named;
    for (const auto& [name, leaf] : adapters[adapter].tensors) {
      named.emplace(sparity::tensors::name_in_memory(name, adapters[adapter].name), leaf);
    }
    return named;
  }

  std::map<std::string, at::Tensor> gradients() const {
    std::map<std::string, at::Tensor> found;
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      for (const auto& [name, leaf] : tensors(i)) {
        if (leaf.grad().defined()) {
          found.emplace(name, leaf.grad());
        }
      }
    }
    return found;
  }
};

/// Targets that the model does not have: each is named, with the name that was meant.
void judge_missing_targets(const SuiteContext& context, judge::CaseRecord& record) {
  const core::AdapterConfig config =
      config_on({"o_proj", "indexer.q_b_proj", "indexer.k_proj", "indexer.weight_proj"});
  std::string message;
  try {
    const core::AdapterLayout layout(config, context.checkpoint().manifest, "adapter_config.json");
  } catch (const core::Error& error) {
    message = error.what();
  }
  for (const char* name : {"indexer.q_b_proj", "indexer.k_proj", "indexer.weight_proj",
                           "indexer.wq_b", "indexer.wk", "indexer.weights_proj"}) {
    record.comparisons.push_back(cases::claim_holds(name, message.find(name) != std::string::npos,
                                                    "the message says: " + message));
  }
}

/// logits.var() · 0.001 in the place of the KL loss: it has no path to the indexer and one to the
/// model. The path check has to say so.
void judge_placeholder(const SuiteContext& bare, judge::CaseRecord& record) {
  const at::AutoGradMode recording(true);
  const Dual dual(bare);
  dual.model.forward(bare.inputs()).var().mul(0.001).backward();
  cases::BackwardTrace run;
  run.parameters = dual.gradients();
  const SuiteContext context = bare.with_adapters(dual.adapters);
  judge::CaseRecord checked;
  cases::judge_paths(
      context, "KL loss", run,
      [](const core::ParameterSpec& tensor) {
        return train::is_indexer(tensor.role) ? Arrival::kNonZero : Arrival::kNone;
      },
      checked);
  for (std::size_t i = 0; i < checked.comparisons.size(); ++i) {
    record.comparisons.push_back(
        cases::claim_holds(checked.comparisons[i].tensor, !checked.comparisons[i].passed(),
                           "the path check refuses the placeholder's gradient here"));
  }
}

/// A step between the two backward passes, where the second one needs what the step changed: with
/// nothing detached, the KL loss goes through the model's adapter. It must not go through
/// unnoticed.
void judge_step_between(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const at::AutoGradMode recording(true);
  const Dual dual(context);
  model::ForwardOptions options;
  options.objective.kl = core::KlOptions{.detach = core::KlDetach::kNone};
  const train::ObjectiveValue value = train::evaluate(dual.model, context.inputs(), options);
  value.lm.loss.backward({}, /*retain_graph=*/true);
  train::AdamW optimizer(dual.tensors(0), {});
  optimizer.step(dual.gradients(), 1e-3);
  std::string message = "nothing was noticed";
  try {
    value.kl.backward();
  } catch (const c10::Error& error) {
    message = error.what_without_backtrace();
  }
  record.comparisons.push_back(cases::claim_holds(
      "kl_loss", message.find("modified by an inplace operation") != std::string::npos, message));
}

}  // namespace

std::vector<Case> mistake_cases() {
  return {
      {"lora", "targets_that_do_not_exist_are_named", judge_missing_targets},
      {"lora", "a_placeholder_kl_loss_fails_the_path_check", judge_placeholder},
      {"lora", "a_step_between_two_backward_passes_is_noticed", judge_step_between},
  };
}

}  // namespace sparity::suites::lora
