#include "suites/stages/stage_run.h"

#include "reference/model/assemble.h"
#include "reference/model/attention.h"
#include "reference/model/mask.h"
#include "src/tensors/recorder.h"
#include "src/train/loss_report.h"
#include "suites/cases/gradients.h"
#include "suites/cases/magnitudes.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/einsum.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace sparity::suites::stages {

namespace reference = sparity::reference;

using cases::SuiteContext;

namespace {

reference::train::ClipScope scope_of(train::ClipScope scope) {
  return scope == train::ClipScope::kAll ? reference::train::ClipScope::kAll
                                         : reference::train::ClipScope::kGroup;
}

/// Of one micro-batch, from what its pass showed of every layer's indexer.
double nearest_kink(const tensors::Inputs& inputs, const std::map<std::string, at::Tensor>& seen,
                    core::AttentionMode attention) {
  constexpr std::string_view kQueries = ".indexer.q";
  double nearest = 1;
  for (const auto& [name, value] : seen) {
    if (!name.ends_with(kQueries)) {
      continue;
    }
    const std::string layer = name.substr(0, name.size() - 1);
    const at::Tensor q = value.to(at::kDouble);                 // [B, S, Hi, Di]
    const at::Tensor k = seen.at(layer + "k").to(at::kDouble);  // [B, T, Di]
    const at::Tensor counted =
        attention == core::AttentionMode::kDense
            ? reference::model::valid_pairs(inputs)
            : reference::model::support(seen.at(layer + "topk_indices"), k.size(1));
    const at::Tensor sizes =
        q.norm(2, -1).unsqueeze(-1).mul(k.norm(2, -1).unsqueeze(1).unsqueeze(1));
    const at::Tensor cosines =
        at::einsum("bshd,btd->bsht", {q, k}).div(sizes).abs();  // [B, S, Hi, T]
    const at::Tensor open = counted.unsqueeze(2).expand_as(cosines);
    nearest = std::min(nearest, cosines.masked_select(open).min().item<double>());
  }
  return nearest;
}

/// Of one micro-batch, from what its pass showed.
void add_cancellations(const std::map<std::string, at::Tensor>& seen,
                       std::map<std::string, double>* cancellations) {
  constexpr std::string_view kTarget = "kl_target";
  for (const auto& [name, target] : seen) {
    if (!name.ends_with(kTarget)) {
      continue;
    }
    const std::string indexer = name.substr(0, name.size() - kTarget.size());
    const auto gradient = seen.find(tensors::gradient_name(indexer + "scores"));
    if (gradient == seen.end()) {
      continue;
    }
    const std::optional<double> factor =
        cases::kl_cancellation(seen.at(indexer + "scores"), target, gradient->second);
    double& largest = (*cancellations)[indexer];
    largest = std::max(largest, factor.value_or(1.0));
  }
}

}  // namespace

reference::train::TrainingPlan plan_of(const StageRule& rule, const train::TrainOptions& options,
                                       const std::map<std::string, at::Tensor>& trainable) {
  reference::train::TrainingPlan plan;
  plan.forward.attention = rule.dense ? core::AttentionMode::kDense : core::AttentionMode::kSparse;
  plan.objective.lm = rule.model;
  if (rule.indexer) {
    plan.objective.kl = options.kl;
  }
  plan.objective.balance = options.balance;
  plan.adamw = options.adamw;
  plan.schedule = options.schedule;
  plan.max_norm = options.clip;
  plan.clip_scope = scope_of(options.clip_scope);
  plan.bias_update_rate = options.bias_update_rate;
  plan.dropout_seed = static_cast<std::uint64_t>(options.seed);
  const double rate = options.adamw.learning_rate;
  reference::train::TrainedGroup model{"model", rate, {}};
  reference::train::TrainedGroup indexer{
      "indexer", options.indexer_learning_rate.value_or(rate), {}};
  for (const auto& [name, tensor] : trainable) {
    const bool of_indexer = name.find(".indexer.") != std::string::npos;
    if (of_indexer ? rule.indexer : rule.model) {
      (of_indexer ? indexer : model).parameters.insert(name);
      if (options.decay == train::DecayScope::kMatrices &&
          name.find("norm.") != std::string::npos) {
        plan.undecayed.insert(name);
      }
    }
  }
  for (reference::train::TrainedGroup& group : {std::ref(model), std::ref(indexer)}) {
    if (!group.parameters.empty()) {
      plan.groups.push_back(std::move(group));
    }
  }
  return plan;
}

Standing Standing::of(const train::Trainer& trainer) {
  Standing standing;
  standing.steps_done = trainer.steps_done();
  for (const auto& [name, tensor] : trainer.weights().tensors()) {
    standing.weights.emplace(name, tensor.detach().clone());
  }
  for (tensors::Adapter adapter : trainer.adapters()) {
    for (auto& [name, tensor] : adapter.tensors) {
      tensor = tensor.detach().clone();
    }
    standing.adapters.push_back(std::move(adapter));
  }
  for (const train::OptimizerGroup& group : trainer.groups()) {
    for (const auto& [name, state] : group.optimizer.state()) {
      standing.states.emplace(name, train::AdamWState{state.master.clone(), state.exp_avg.clone(),
                                                      state.exp_avg_sq.clone(), state.step});
    }
  }
  return standing;
}

const at::Tensor& Standing::at(const std::string& name) const {
  for (const tensors::Adapter& adapter : adapters) {
    for (const auto& [file_name, tensor] : adapter.tensors) {
      if (tensors::name_in_memory(file_name, adapter.name) == name) {
        return tensor;
      }
    }
  }
  return weights.at(name);
}

reference::train::Training training_from(const SuiteContext& context, at::ScalarType compute,
                                         const StageRule& rule, const train::TrainOptions& options,
                                         const Standing& standing) {
  reference::model::ReferenceModel model = reference::model::ReferenceModel::bind(
      tensors::WeightStore(context.checkpoint().manifest, standing.weights, "standing"),
      context.config(), compute, context.options().recipe, standing.adapters);
  const reference::train::TrainingPlan plan =
      plan_of(rule, options, reference::model::trainable(model));
  reference::train::Training training(std::move(model), plan);
  std::map<std::string, reference::train::AdamWState> states;
  for (const auto& [name, state] : standing.states) {
    states.emplace(
        name,
        reference::train::AdamWState{
            .master = state.master, .m = state.exp_avg, .v = state.exp_avg_sq, .step = state.step});
  }
  training.restore(standing.steps_done, states);
  return training;
}

Preview preview_of(const SuiteContext& context, const train::Trainer& trainer,
                   const MicroBatches& batch) {
  const at::NoGradGuard no_gradients;
  const model::Model model(context.config(), trainer.weights(),
                           tensors::pairs_of(trainer.adapters()));
  const train::BatchCounts counts = train::BatchCounts::of(batch);
  model::ForwardOptions forward = trainer.options().forward_options();
  forward.objective.num_items = counts.labels;
  Preview preview;
  for (const tensors::Inputs& inputs : batch) {
    forward.dropout = tensors::DropoutDraw{static_cast<std::uint64_t>(trainer.options().seed),
                                           trainer.steps_done(), std::ssize(preview.choices)};
    tensors::Recorder recorder({"*.topk_indices", "*.indexer.q", "*.indexer.k"});
    const train::ObjectiveValue value =
        train::evaluate(model, inputs, forward, tensors::Probe(&recorder));
    preview.loss.add(value, forward.objective,
                     train::StepShare(forward.objective, train::BatchCounts::of(inputs), counts));
    preview.choices.push_back(cases::selections_of({recorder.order(), recorder.captured()}));
    if (forward.objective.kl && context.options().dtype != core::Dtype::kBF16) {
      preview.nearest_kink = std::min(preview.nearest_kink,
                                      nearest_kink(inputs, recorder.captured(), forward.attention));
    }
  }
  return preview;
}

reference::train::StepResult step_under(reference::train::Training& training,
                                        const MicroBatches& batch,
                                        const std::vector<cases::Forced>& choices,
                                        std::map<std::string, double>* cancellations) {
  std::vector<std::string> globs;
  if (cancellations != nullptr) {
    globs = {"*.kl_target", "*.indexer.scores"};  // and the gradient of the scores
  }
  std::vector<std::unique_ptr<tensors::Recorder>> recorders;
  std::vector<tensors::Probe> probes;
  for (const cases::Forced& forced : choices) {
    recorders.push_back(std::make_unique<tensors::Recorder>(globs));
    for (const auto& [name, value] : forced) {
      recorders.back()->force(name, value);
    }
    probes.emplace_back(recorders.back().get());
  }
  const reference::train::StepResult result = training.step(batch, probes);
  for (const auto& recorder : recorders) {
    add_cancellations(recorder->captured(), cancellations);
  }
  return result;
}

}  // namespace sparity::suites::stages
