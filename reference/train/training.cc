#include "reference/train/training.h"

#include "reference/model/assemble.h"
#include "reference/model/loss.h"
#include "reference/model/mask.h"
#include "reference/train/balance_loss.h"
#include "reference/train/indexer_loss.h"
#include "src/core/error.h"
#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace sparity::reference::train {
namespace {

/// Rows that hold a token.
std::int64_t sequences_of(const tensors::Inputs& inputs) {
  return inputs.token_mask.any(-1).sum().item<std::int64_t>();
}

/// What the losses of a step are divided by.
struct StepDivisors {
  std::int64_t labels = 0;
  double kl = 1.0;
  std::int64_t sequences = 0;
};

StepDivisors divisors_of(const std::vector<tensors::Inputs>& micro_batches, std::int64_t layers,
                         const ObjectiveOptions& options) {
  StepDivisors divisors;
  KlCounts counts = {.layers = layers};
  for (const tensors::Inputs& inputs : micro_batches) {
    if (inputs.labels.defined()) {
      divisors.labels += model::counted_labels(inputs.labels, inputs.token_mask);
    }
    divisors.sequences += sequences_of(inputs);
    counts.rows += counted_rows(model::valid_pairs(inputs));
    counts.positions += inputs.token_mask.numel();
  }
  counts.items = divisors.labels;
  if (options.kl.has_value()) {
    divisors.kl = kl_divisor(options.kl->reduction, counts);
  }
  return divisors;
}

/// The options under which a micro-batch's objective is its share of the step's.
ObjectiveOptions share_of(const tensors::Inputs& inputs, const StepDivisors& divisors,
                          ObjectiveOptions options) {
  options.lm_items = divisors.labels;
  if (options.kl.has_value()) {
    options.kl->reduction = core::KlReduction::kSum;
    options.kl->coefficient /= divisors.kl;
  }
  if (options.balance.coefficient != 0.0) {
    options.balance.coefficient *=
        static_cast<double>(sequences_of(inputs)) / static_cast<double>(divisors.sequences);
  }
  return options;
}

void add_to(std::optional<double>& total, const at::Tensor& part, double divisor = 1.0) {
  if (part.defined()) {
    total = total.value_or(0.0) + part.item<double>() / divisor;
  }
}

/// sum += parts, in f32 or wider.
void add_up(NamedTensors& sum, const NamedTensors& parts) {
  for (const auto& [name, part] : parts) {
    const at::Tensor wide = part.to(tensors::at_least_f32(part.scalar_type()));
    const auto [found, first] = sum.emplace(name, wide);
    if (!first) {
      found->second = found->second + wide;
    }
  }
}

/// Those of `tensors` that `names` has.
NamedTensors only(const std::set<std::string>& names, const NamedTensors& tensors) {
  NamedTensors kept;
  for (const auto& [name, tensor] : tensors) {
    if (names.contains(name)) {
      kept.emplace(name, tensor);
    }
  }
  return kept;
}

}  // namespace

Training::Training(model::ReferenceModel model, TrainingPlan plan)
    : model_(std::move(model)), plan_(std::move(plan)) {
  SPARITY_CHECK(!plan_.objective.lm_items.has_value() && !plan_.objective.kl_items.has_value(),
                "a training step counts labels and items by itself");
  SPARITY_CHECK(!plan_.forward.dropout.has_value(), "a training run draws dropout by itself");
  const NamedTensors trainable = model::trainable(model_);
  for (const TrainedGroup& group : plan_.groups) {
    SPARITY_CHECK(!group.parameters.empty(), fmt::format("{}: trains nothing", group.name));
    for (const std::string& name : group.parameters) {
      SPARITY_CHECK(trainable.contains(name), fmt::format("{}: cannot be trained", name));
      SPARITY_CHECK(trained_.insert(name).second, fmt::format("{}: trained twice", name));
    }
    const bool added = optimizers_
                           .emplace(group.name, AdamW(only(group.parameters, trainable),
                                                      plan_.adamw, plan_.undecayed))
                           .second;
    SPARITY_CHECK(added, fmt::format("{}: two groups of that name", group.name));
  }
}

void Training::restore(std::int64_t steps_taken, const std::map<std::string, AdamWState>& states) {
  SPARITY_CHECK(states.size() == trained_.size(), "optimizer states of other parameters");
  for (const TrainedGroup& group : plan_.groups) {
    std::map<std::string, AdamWState> own;
    for (const auto& [name, state] : states) {
      if (group.parameters.contains(name)) {
        own.emplace(name, state);
      }
    }
    optimizers_.at(group.name).restore(std::move(own));
  }
  steps_ = steps_taken;
}

StepResult Training::step(const std::vector<tensors::Inputs>& micro_batches,
                          const std::vector<tensors::Probe>& probes) {
  SPARITY_CHECK(!micro_batches.empty(), "a training step without a micro-batch");
  SPARITY_CHECK(probes.empty() || probes.size() == micro_batches.size(),
                "a probe for each micro-batch, or none");
  const StepDivisors divisors =
      divisors_of(micro_batches, model_.config.num_hidden_layers, plan_.objective);
  StepResult result;
  NamedTensors loads;
  for (std::size_t i = 0; i < micro_batches.size(); ++i) {
    const Objective part = objective(model_, micro_batches[i], forward_options(i),
                                     share_of(micro_batches[i], divisors, plan_.objective),
                                     probes.empty() ? tensors::Probe() : probes[i]);
    result.loss += part.loss.item<double>();
    add_to(result.lm, part.lm_loss);
    add_to(result.kl, part.kl_loss, divisors.kl);
    add_to(result.balance, part.balance_loss);
    add_up(result.gradients, only(trained_, part.gradients));
    for (const auto& [bias, load] : part.expert_loads) {
      loads[bias] = loads.contains(bias) ? loads.at(bias) + load : load;
    }
  }
  for (const TrainedGroup& group : plan_.groups) {
    result.group_norms[group.name] = gradient_norm(result.gradients, group.parameters);
    result.rates[group.name] = scheduled_rate(group.peak_rate, plan_.schedule, steps_);
  }
  NamedTensors gradients = result.gradients;
  result.total_norm = clip(gradients);
  update(gradients, result, loads);
  ++steps_;
  return result;
}

model::ForwardOptions Training::forward_options(std::size_t micro_batch) const {
  model::ForwardOptions options = plan_.forward;
  if (plan_.dropout_seed.has_value()) {
    options.dropout = {.seed = *plan_.dropout_seed,
                       .step = steps_,
                       .micro_batch = static_cast<std::int64_t>(micro_batch)};
  }
  return options;
}

/// Returns the norm of all groups together, before.
double Training::clip(NamedTensors& gradients) const {
  const double norm = gradient_norm(gradients, trained_);
  if (plan_.max_norm > 0.0 && plan_.clip_scope == ClipScope::kAll) {
    clip_gradients(gradients, trained_, plan_.max_norm);
  } else if (plan_.max_norm > 0.0) {
    for (const TrainedGroup& group : plan_.groups) {
      clip_gradients(gradients, group.parameters, plan_.max_norm);
    }
  }
  return norm;
}

void Training::update(const NamedTensors& gradients, const StepResult& result,
                      const std::map<std::string, at::Tensor>& loads) {
  NamedTensors values;
  for (const TrainedGroup& group : plan_.groups) {
    AdamW& optimizer = optimizers_.at(group.name);
    optimizer.step(only(group.parameters, gradients), result.rates.at(group.name));
    for (const auto& [name, parameter] : optimizer.parameters()) {
      values[name] = parameter;
    }
  }
  if (plan_.bias_update_rate != 0.0) {
    for (const auto& [bias, load] : loads) {
      values[bias] = bias_update(model_.parameters.at(bias), load, plan_.bias_update_rate);
    }
  }
  model_ = model::with_values(model_, values);
}

}  // namespace sparity::reference::train
