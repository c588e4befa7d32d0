#include "src/train/trainer.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/balance.h"
#include "src/tensors/at_dtype.h"
#include "src/tensors/recorder.h"
#include "src/train/adapter_rules.h"
#include "src/train/finite.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <set>
#include <utility>

namespace sparity::train {

namespace {

using core::Fault;
using core::planted;

/// Refuses what `read`, which is finite, has become by being rounded to the run's dtype.
void check_rounded(const std::string& name, const at::Tensor& read, const at::Tensor& used) {
  if (read.scalar_type() == used.scalar_type()) {
    return;
  }
  const std::string found = first_not_finite(used);
  SPARITY_CHECK_INPUT(found.empty(),
                      fmt::format("'{}': expected numbers that {} holds, found {} after rounding",
                                  name, c10::toString(used.scalar_type()), found));
}

/// Parameters in the run's dtypes, as leaves; those that the stage trains gather gradients, unless
/// adapters train in their place.
tensors::WeightStore leaves_of(const tensors::Checkpoint& source, const TrainOptions& options,
                               bool with_adapters) {
  const tensors::WeightStore rounded =
      source.weights.rounded(source.manifest, options.dtype, options.recipe);
  std::map<std::string, at::Tensor> leaves;
  for (const core::ParameterSpec& parameter : source.manifest.parameters()) {
    const bool trained = !with_adapters && trains(options.stage, parameter.role);
    const at::Tensor& used = rounded.at(parameter.name);
    check_rounded(parameter.name, source.weights.at(parameter.name), used);
    leaves.emplace(parameter.name, used.detach().requires_grad_(trained));
  }
  return tensors::WeightStore(source.manifest, std::move(leaves), "leaves");
}

std::vector<tensors::Adapter> leaves_of(const std::vector<tensors::Adapter>& adapters,
                                        const TrainOptions& options) {
  check_adapters(options.stage, adapters);
  SPARITY_CHECK_INPUT(adapters.empty() || options.bias_update_rate == 0.0,
                      fmt::format("bias_update_rate: expected 0 with adapters, which leave every "
                                  "parameter of the model alone, found {}",
                                  options.bias_update_rate));
  const at::ScalarType wide = tensors::at_least_f32(tensors::to_scalar_type(options.dtype));
  std::vector<tensors::Adapter> leaves;
  for (const tensors::Adapter& adapter : adapters) {
    leaves.push_back(tensors::as_leaves(adapter, wide));
    for (const auto& [name, read] : adapter.tensors) {
      check_rounded(name, read, leaves.back().tensors.at(name));
    }
  }
  return leaves;
}

bool is_norm(core::ParameterRole role) {
  return role == core::ParameterRole::kNormGain || role == core::ParameterRole::kIndexerNormGain ||
         (role == core::ParameterRole::kIndexerNormBias && !planted(Fault::kF90KeyNormBiasDecays));
}

/// `fate`: of the step.
[[noreturn]] void stop(std::int64_t step, const std::string& what,
                       const std::string& fate = "the step was not taken") {
  core::throw_error(core::ExitCode::kCrashed,
                    fmt::format("step {}: {}; {}, and nothing was saved since the last checkpoint",
                                step, what, fate),
                    __FILE__, __LINE__);
}

std::string text_of(const std::optional<double>& value) {
  return !value ? "none" : std::isnan(*value) ? "nan" : fmt::format("{}", *value);
}

void require_finite(std::int64_t step, const LossReport& loss, const std::string& kind,
                    const std::string& fate) {
  if (!std::isfinite(loss.total)) {
    stop(
        step,
        fmt::format("expected a finite {}, found {} (lm {}, kl {}, balance {})", kind,
                    text_of(loss.total), text_of(loss.lm), text_of(loss.kl), text_of(loss.balance)),
        fate);
  }
}

void require_finite(std::int64_t step, const Gradients& gradients) {
  for (const auto& [name, gradient] : gradients) {
    const double norm = global_norm({{name, gradient}});
    if (!std::isfinite(norm)) {
      stop(step, fmt::format("expected finite gradients, found a norm of {} in {}", norm, name));
    }
  }
}

void require_finite_after(std::int64_t step, const std::string& name, const at::Tensor& changed) {
  const std::string found = first_not_finite(changed);
  if (!found.empty()) {
    stop(step, fmt::format("expected finite numbers after the update, found {} in {}", found, name),
         "the step does not count");
  }
}

/// Everything that a step with these gradients has written.
void require_finite_after(std::int64_t step, const AdamW& optimizer, const Gradients& gradients) {
  for (const auto& [name, gradient] : gradients) {
    const at::Tensor& parameter = optimizer.parameters().at(name);
    const AdamWState& state = optimizer.state().at(name);
    require_finite_after(step, name, parameter);
    if (parameter.scalar_type() != state.master.scalar_type()) {  // else rounded to itself
      require_finite_after(step, name + ".master", state.master);
    }
    require_finite_after(step, name + ".exp_avg", state.exp_avg);
    require_finite_after(step, name + ".exp_avg_sq", state.exp_avg_sq);
  }
}

}  // namespace

Trainer::Trainer(tensors::Checkpoint checkpoint, const TrainOptions& options,
                 const std::vector<tensors::Adapter>& adapters)
    : options_(options),
      source_(std::move(checkpoint)),
      weights_(leaves_of(source_, options_, !adapters.empty())),
      adapters_(leaves_of(adapters, options_)),
      model_(source_.config, weights_, tensors::pairs_of(adapters_)),
      frozen_(frozen_tensors()) {
  make_groups();
}

bool Trainer::is_trained(const core::ParameterSpec& parameter) const {
  return (adapters_.empty() && trains(options_.stage, parameter.role)) ||
         (parameter.role == core::ParameterRole::kRouterBias && updates_biases());
}

std::map<std::string, at::Tensor> Trainer::frozen_tensors() const {
  std::map<std::string, at::Tensor> frozen;
  for (const core::ParameterSpec& parameter : source_.manifest.parameters()) {
    if (is_trained(parameter)) {
      continue;
    }
    const at::Tensor& read = source_.weights.at(parameter.name);
    const at::Tensor& used = weights_.at(parameter.name);
    frozen.emplace(parameter.name, read);
    if (!read.is_alias_of(used)) {
      frozen.emplace(parameter.name + " (rounded)", used);
    }
  }
  return frozen;
}

std::vector<Trainable> Trainer::trained() const {
  std::vector<Trainable> all;
  for (const core::ParameterSpec& parameter : source_.manifest.parameters()) {
    if (adapters_.empty() && trains(options_.stage, parameter.role)) {
      all.push_back({parameter.name, weights_.at(parameter.name), parameter.role});
    }
  }
  for (const tensors::Adapter& adapter : adapters_) {
    for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
      all.push_back({tensors::name_in_memory(tensor.name, adapter.name),
                     adapter.tensors.at(tensor.name), tensor.role});
    }
  }
  return all;
}

void Trainer::make_groups() {
  struct Members {
    std::map<std::string, at::Tensor> parameters;
    std::set<std::string> without_decay;
  };
  std::map<bool, Members> by_indexer;
  for (const Trainable& trainable : trained()) {
    Members& members = by_indexer[is_indexer(trainable.role)];
    members.parameters.emplace(trainable.name, trainable.leaf);
    if (options_.decay == DecayScope::kMatrices && is_norm(trainable.role)) {
      members.without_decay.insert(trainable.name);
    }
  }
  for (auto& [indexer, members] : by_indexer) {
    const double rate = options_.adamw.learning_rate;
    groups_.push_back(
        {indexer ? "indexer" : "model",
         indexer ? options_.indexer_learning_rate.value_or(rate) : rate,
         indexer ? options_.indexer_clip.value_or(options_.clip) : options_.clip,
         AdamW(std::move(members.parameters), options_.adamw, std::move(members.without_decay))});
  }
}

std::int64_t Trainer::drawn_steps() const {
  return planted(Fault::kF94DropoutRestartsOnResume) ? steps_done_ - resumed_at_ : steps_done_;
}

std::int64_t Trainer::trained_count() const {
  std::int64_t count = 0;
  for (const core::ParameterSpec& parameter : source_.manifest.parameters()) {
    count += is_trained(parameter) ? parameter.numel() : 0;
  }
  for (const tensors::Adapter& adapter : adapters_) {
    count += adapter.layout.parameter_count();
  }
  return count;
}

void Trainer::take_gradients(Gradients& sum) const {
  for (const OptimizerGroup& group : groups_) {
    for (const auto& [name, leaf] : group.optimizer.parameters()) {
      if (!leaf.grad().defined()) {
        continue;
      }
      const at::Tensor gradient = leaf.grad().to(tensors::at_least_f32(leaf.scalar_type()));
      const auto [known, first] = sum.emplace(name, gradient);
      if (!first) {
        known->second.add_(gradient);
      }
      leaf.mutable_grad().reset();
    }
  }
}

StepReport Trainer::step(const std::vector<tensors::Inputs>& micro_batches) {
  const BatchCounts counts = BatchCounts::of(micro_batches);
  model::ForwardOptions forward = options_.forward_options();
  forward.objective.num_items = counts.labels;
  SPARITY_CHECK_INPUT(!forward.objective.lm || counts.labels > 0,
                      fmt::format("step {}: expected a label to learn from, found none that counts",
                                  steps_done_ + 1));
  StepReport report;
  report.step = steps_done_ + 1;
  report.tokens = counts.tokens;
  report.labels = counts.labels;
  Gradients gradients;
  std::map<std::string, at::Tensor> loads;
  for (std::int64_t micro_batch = 0; const tensors::Inputs& inputs : micro_batches) {
    const at::AutoGradMode recording(true);
    forward.dropout = tensors::DropoutDraw{static_cast<std::uint64_t>(options_.seed), drawn_steps(),
                                           micro_batch++};
    tensors::Recorder choices({"*.mlp.gate.topk_indices"});
    const tensors::Probe probe = updates_biases() ? tensors::Probe(&choices) : tensors::Probe();
    const ObjectiveValue value = evaluate(model_, inputs, forward, probe);
    const StepShare share(forward.objective, BatchCounts::of(inputs), counts);
    report.loss.add(value, forward.objective, share);
    require_finite(report.step, report.loss, "loss", "the step was not taken");
    share_of_total(value, forward.objective, share).backward();
    take_gradients(gradients);
    add_loads(choices.captured(), inputs.token_mask, loads);
  }
  require_finite(report.step, gradients);
  const at::NoGradGuard no_gradients;
  optimize(gradients, report);
  if (updates_biases()) {
    update_biases(loads);
  }
  ++steps_done_;
  return report;
}

void Trainer::optimize(const Gradients& gradients, StepReport& report) {
  std::vector<Gradients> by_group;
  double squares = 0;
  for (const OptimizerGroup& group : groups_) {
    Gradients& own = by_group.emplace_back();
    for (const auto& [name, parameter] : group.optimizer.parameters()) {
      const auto found = gradients.find(name);
      if (found == gradients.end()) {
        report.without_gradient.push_back(name);
      } else {
        own.emplace(name, found->second);
      }
    }
    const double norm = global_norm(own);
    report.group_norms.emplace(group.name, norm);
    squares += norm * norm;
  }
  report.gradient_norm = std::sqrt(squares);
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    OptimizerGroup& group = groups_[i];
    const bool together =
        options_.clip_scope == ClipScope::kAll || planted(Fault::kF96ClippedByOneNorm);
    const double norm = together ? report.gradient_norm : report.group_norms.at(group.name);
    const double rate = learning_rate_at(steps_done_, group.learning_rate, options_.schedule);
    report.learning_rates.emplace(group.name, rate);
    group.optimizer.step(by_group[i], rate, group.clip == 0.0 ? 1.0 : clip_scale(norm, group.clip));
    require_finite_after(report.step, group.optimizer, by_group[i]);
  }
}

void Trainer::add_loads(const std::map<std::string, at::Tensor>& choices,
                        const at::Tensor& token_mask,
                        std::map<std::string, at::Tensor>& loads) const {
  for (const auto& [name, chosen] : choices) {
    const at::Tensor load = ops::expert_load(chosen, token_mask, config().n_routed_experts);
    const auto [known, first] = loads.emplace(name, load);
    if (!first) {
      known->second.add_(load);
    }
  }
}

void Trainer::update_biases(const std::map<std::string, at::Tensor>& loads) {
  for (const auto& [choice, load] : loads) {
    const std::string gate = choice.substr(0, choice.rfind('.'));
    const std::string name = "model." + gate + ".e_score_correction_bias";
    const at::Tensor bias = weights_.at(name);
    bias.copy_(ops::updated_bias(bias, load, options_.bias_update_rate));
    require_finite_after(steps_done_ + 1, name, bias);
  }
}

LossReport Trainer::validate(const std::vector<tensors::Inputs>& batches) const {
  const at::NoGradGuard no_gradients;
  const BatchCounts counts = BatchCounts::of(batches);
  model::ForwardOptions forward = options_.forward_options();
  forward.recompute_layers = false;
  forward.objective.num_items = counts.labels;
  LossReport report;
  const std::int64_t n = std::ssize(batches);
  for (const tensors::Inputs& inputs : batches) {
    report.add(evaluate(model_, inputs, forward), forward.objective,
               planted(Fault::kF98ValidationWeighsBatchesAlike)
                   ? StepShare(forward.objective, {1, 1, 1, 1, 1}, {n, n, n, n, n})
                   : StepShare(forward.objective, BatchCounts::of(inputs), counts));
  }
  require_finite(steps_done_, report, "validation loss", "the run stops");
  return report;
}

void Trainer::restore(std::int64_t steps_done, const std::map<std::string, AdamWState>& state) {
  std::size_t taken = 0;
  for (OptimizerGroup& group : groups_) {
    std::map<std::string, AdamWState> own;
    for (const auto& [name, parameter] : group.optimizer.parameters()) {
      const auto found = state.find(name);
      SPARITY_CHECK_INPUT(found != state.end(),
                          fmt::format("optimizer state: expected '{}', found none", name));
      own.emplace(name, found->second);
      ++taken;
    }
    group.optimizer.restore(std::move(own));
  }
  SPARITY_CHECK_INPUT(
      taken == state.size(),
      fmt::format("optimizer state: expected {} parameters, found {}", taken, state.size()));
  steps_done_ = steps_done;
  resumed_at_ = steps_done;
}

tensors::Checkpoint Trainer::checkpoint() const {
  std::map<std::string, at::Tensor> tensors;
  for (const core::ParameterSpec& parameter : source_.manifest.parameters()) {
    const tensors::WeightStore& holder = is_trained(parameter) ? weights_ : source_.weights;
    tensors.emplace(parameter.name, holder.at(parameter.name).detach());
  }
  return {source_.config,
          source_.manifest,
          tensors::WeightStore(source_.manifest, std::move(tensors), "trained weights"),
          {}};
}

std::string Trainer::check_frozen() const {
  frozen_.check();
  return frozen_.digest();
}

}  // namespace sparity::train
