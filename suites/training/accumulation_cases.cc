#include "suites/training/accumulation_cases.h"

#include "src/model/model.h"
#include "src/tensors/input_checks.h"
#include "src/train/objective.h"
#include "suites/cases/skips.h"
#include "suites/training/objective_runs.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

namespace sparity::suites::training {

namespace {

using cases::Case;
using cases::SuiteContext;
using core::AttentionMode;
using core::Objective;

/// One row of the batch as a batch of its own, cut to its last token, or to the place after it
/// where that has a label, which the last token predicts. The row has a token.
tensors::Inputs row_of(const tensors::Inputs& inputs, std::int64_t row) {
  const at::Tensor tokens = inputs.token_mask[row].nonzero();
  std::int64_t end = tokens[-1].item<std::int64_t>() + 1;
  const at::Tensor labels = inputs.labels[row];
  if (end < labels.size(0) && labels[end].item<std::int64_t>() != tensors::kIgnoredLabel) {
    ++end;
  }
  const auto cut = [&](const at::Tensor& x) {
    return x.defined() ? x.narrow(0, row, 1).narrow(1, 0, end).contiguous() : x;
  };
  tensors::Inputs one = inputs;
  one.input_ids = cut(inputs.input_ids);
  one.token_mask = cut(inputs.token_mask);
  one.position_ids = cut(inputs.position_ids);
  one.labels = cut(inputs.labels);
  return one;
}

/// A choice [B, S, …] of the whole batch as `row_of` leaves it: no more keys than the row has.
cases::Forced choices_of(const cases::Forced& whole, std::int64_t row, std::int64_t tokens) {
  cases::Forced choices;
  for (const auto& [name, value] : whole) {
    const at::Tensor cut = value.narrow(0, row, 1).narrow(1, 0, tokens);
    const bool keys = name.ends_with(".indexer.topk_indices");
    choices.emplace(name, keys ? cut.narrow(2, 0, std::min(cut.size(2), tokens)) : cut);
  }
  return choices;
}

void judge_accumulation(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  Objective objective{.kl = core::KlOptions{.reduction = core::KlReduction::kNumItems}};
  objective.num_items = run_objective(context, AttentionMode::kSparse, {}).truth.run.labels_counted;
  ObjectiveSides sides = run_objective(context, AttentionMode::kSparse, objective);
  const cases::Forced choices = cases::selections_of(sides.candidate.shown.trace);
  cases::ObjectiveRun sum;
  for (std::int64_t row = 0; row < context.inputs().input_ids.size(0); ++row) {
    if (!context.inputs().token_mask[row].any().item<bool>()) {
      continue;  // nothing of a row of padding counts
    }
    const tensors::Inputs inputs = row_of(context.inputs(), row);
    const SuiteContext one = context.with_inputs(inputs);
    cases::ObjectiveRun part =
        trace_objective(one, context.candidate(), AttentionMode::kSparse, objective,
                        choices_of(choices, row, inputs.input_ids.size(1)))
            .run;
    sum.lm_loss = sum.lm_loss.defined() ? sum.lm_loss.add(part.lm_loss) : part.lm_loss;
    sum.kl_loss = sum.kl_loss.defined() ? sum.kl_loss.add(part.kl_loss) : part.kl_loss;
    sum.kl_layer_sums = sum.kl_layer_sums.defined() ? sum.kl_layer_sums.add(part.kl_layer_sums)
                                                    : part.kl_layer_sums;
    for (auto& [name, gradient] : part.parameters) {
      auto [place, is_new] = sum.parameters.try_emplace(name, gradient);
      if (!is_new) {
        place->second = place->second.add(gradient);
      }
    }
  }
  const ObjectiveValues values{sum, sides.baseline, sides.truth};
  judge_value(context, "lm_loss", &cases::ObjectiveRun::lm_loss, values, record);
  judge_kl(context, values, record);
  sides.candidate.shown.parameters = sum.parameters;
  cases::judge_parameter_gradients(
      context, {sides.candidate.shown, sides.baseline.shown, sides.truth.shown}, record);
}

/// Gradients of the candidate alone, its layers kept or run again, and its experts' loads.
std::map<std::string, at::Tensor> gradients(const SuiteContext& context, bool recompute) {
  const at::AutoGradMode recording(true);
  const tensors::WeightStore leaves = context.weights().as_leaves(context.checkpoint().manifest);
  model::ForwardOptions options;
  options.recompute_layers = recompute;
  options.objective.kl = core::KlOptions{.detach = core::KlDetach::kNone};
  if (context.first_moe_layer() >= 0) {
    options.objective.balance.coefficient = 0.1;
  }
  const train::ObjectiveValue value =
      train::evaluate(model::Model(context.config(), leaves), context.inputs(), options);
  value.total.backward();
  std::map<std::string, at::Tensor> found;
  for (std::size_t layer = 0; layer < value.layers.size(); ++layer) {
    if (value.layers[layer].load.defined()) {
      found.emplace(fmt::format("layers.{}.mlp.load", layer), value.layers[layer].load);
    }
  }
  for (const auto& [name, leaf] : leaves.tensors()) {
    if (leaf.grad().defined()) {
      found.emplace(name, leaf.grad());
    }
  }
  return found;
}

void judge_recomputation(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const std::map<std::string, at::Tensor> kept = gradients(context, false);
  const std::map<std::string, at::Tensor> again = gradients(context, true);
  record.comparisons.push_back(cases::claim_holds(
      "gradients", kept.size() == again.size() && !kept.empty(), "of the same parameters"));
  for (const auto& [name, gradient] : kept) {
    const auto other = again.find(name);
    record.comparisons.push_back(other == again.end()
                                     ? cases::claim_holds(name, false, "has a gradient in both")
                                     : cases::compare_bits(name, other->second, gradient));
  }
}

}  // namespace

std::vector<Case> accumulation_cases() {
  return {
      {"training", "micro_batches_of_unequal_length_add_up", judge_accumulation},
      {"training", "layers_run_again_leave_the_same_bits_under_every_loss", judge_recomputation},
  };
}

}  // namespace sparity::suites::training
