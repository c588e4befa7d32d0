#include "suites/stages/step_parity.h"

#include "src/tensors/at_dtype.h"
#include "suites/cases/case.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/gates.h"
#include "suites/judge/gradient_group.h"
#include "suites/judge/name_sets.h"
#include "suites/judge/tolerances.h"
#include "suites/stages/stage_run.h"
#include "suites/stages/unequal_batches.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <ranges>
#include <string>
#include <utility>

namespace sparity::suites::stages {

namespace {

using cases::SuiteContext;
using train::TrainOptions;

namespace reference = sparity::reference::train;

/// What a step left on one side.
struct Step {
  std::map<std::string, double> numbers;            // losses, norms and rates
  std::map<std::string, at::Tensor> first_moments;  // by trained tensor
  std::map<std::string, at::Tensor> moved;          // its master's way, and a router's bias's
  std::map<std::string, std::int64_t> counts;       // of AdamW's steps
  std::map<std::string, double> cancellations;      // of the truth's KL losses (`step_under`)
};

void add_loss(const std::string& name, const std::optional<double>& loss, Step& step) {
  if (loss) {
    step.numbers.emplace(name, *loss);
  }
}

void add_by_group(const std::string& what, const std::map<std::string, double>& numbers,
                  Step& step) {
  for (const auto& [group, number] : numbers) {
    step.numbers.emplace(what + "." + group, number);
  }
}

/// `master` after the step; before it, the trainer stood at `from`.
void add_way(const Standing& from, const std::string& name, const at::Tensor& master, Step& step) {
  const auto state = from.states.find(name);
  const at::Tensor& start = state == from.states.end() ? from.at(name) : state->second.master;
  step.moved.emplace(name, master.sub(start.to(master.scalar_type())));
}

std::vector<std::string> router_biases(const SuiteContext& context) {
  std::vector<std::string> names;
  for (const core::ParameterSpec& parameter : context.checkpoint().manifest.parameters()) {
    if (parameter.role == core::ParameterRole::kRouterBias) {
      names.push_back(parameter.name);
    }
  }
  return names;
}

Step candidate_step(const SuiteContext& context, const train::StepReport& report,
                    const Standing& from, const Standing& to, const TrainOptions& options) {
  Step step;
  step.numbers = {{"loss", report.loss.total}, {"norm", report.gradient_norm}};
  add_loss("lm_loss", report.loss.lm, step);
  add_loss("kl_loss", report.loss.kl, step);
  if (report.loss.balance) {
    add_loss("balance_loss", *report.loss.balance * options.balance.coefficient, step);
  }
  add_by_group("norm", report.group_norms, step);
  add_by_group("rate", report.learning_rates, step);
  for (const auto& [name, state] : to.states) {
    add_way(from, name, state.master, step);
    step.first_moments.emplace(name, state.exp_avg);
    step.counts.emplace(name, state.step);
  }
  for (const std::string& name : router_biases(context)) {
    add_way(from, name, to.weights.at(name), step);
  }
  return step;
}

Step reference_step(const SuiteContext& context, at::ScalarType compute, const StageRule& rule,
                    const TrainOptions& options, const Standing& from, const MicroBatches& batch,
                    const std::vector<cases::Forced>& choices) {
  reference::Training training = training_from(context, compute, rule, options, from);
  Step step;
  const reference::StepResult result =
      step_under(training, batch, choices, compute == at::kDouble ? &step.cancellations : nullptr);
  step.numbers = {{"loss", result.loss}, {"norm", result.total_norm}};
  add_loss("lm_loss", result.lm, step);
  add_loss("kl_loss", result.kl, step);
  add_loss("balance_loss", result.balance, step);
  add_by_group("norm", result.group_norms, step);
  add_by_group("rate", result.rates, step);
  for (const auto& [group, rate] : result.rates) {
    for (const auto& [name, state] : training.optimizer(group).states()) {
      add_way(from, name, state.master, step);
      step.first_moments.emplace(name, state.m);
      step.counts.emplace(name, state.step);
    }
  }
  for (const std::string& name : router_biases(context)) {
    add_way(from, name, training.model().parameters.at(name), step);
  }
  return step;
}

/// The three sides of a step, and where they started.
struct Sides {
  const Standing& from;
  const MicroBatches& batch;
  const Step& candidate;
  const Step& baseline;
  const Step& truth;
};

/// Each micro-batch's gradients are rounded by themselves: the second longest's may decide.
std::int64_t samples_of(const MicroBatches& batch) {
  std::vector<std::int64_t> samples;
  for (const tensors::Inputs& inputs : batch) {
    samples.push_back(distinct_tokens({inputs}));
  }
  std::ranges::sort(samples);
  return samples[samples.size() / 2];
}

judge::TensorClaim claim_of(const SuiteContext& context, const Sides& sides,
                            const std::string& name, std::int64_t numel) {
  judge::TensorClaim claim;
  claim.tensor = fmt::format("step_{}.{}", sides.from.steps_done + 1, name);
  claim.direction = judge::Direction::kBackward;
  claim.computed_in = context.options().dtype;
  claim.reduction_length = 2 * context.config().num_hidden_layers * context.reduction_length();
  claim.samples = std::min(samples_of(sides.batch), numel);
  return claim;
}

std::vector<std::string> names_of(const auto& named) {
  const auto keys = std::views::keys(named);
  return {keys.begin(), keys.end()};
}

/// Adds what is wrong with the candidate's set of names; true where nothing is.
bool judge_names(const std::vector<std::string>& candidate, const std::vector<std::string>& truth,
                 judge::CaseRecord& record) {
  const std::vector<judge::Comparison> wrong = judge::compare_names(candidate, truth);
  std::ranges::copy(wrong, std::back_inserter(record.comparisons));
  return wrong.empty();
}

void judge_numbers(const SuiteContext& context, const Sides& sides, judge::CaseRecord& record) {
  if (!judge_names(names_of(sides.candidate.numbers), names_of(sides.truth.numbers), record)) {
    return;
  }
  const at::ScalarType wide = tensors::at_least_f32(context.activation());
  for (const auto& [name, truth] : sides.truth.numbers) {
    const auto as_tensor = [&, key = name](const Step& step, at::ScalarType type) {
      return cases::judged(at::scalar_tensor(step.numbers.at(key), at::kDouble).to(type));
    };
    const judge::Tensor honest = as_tensor(sides.baseline, wide);
    record.comparisons.push_back(judge::compare(claim_of(context, sides, name, 1),
                                                as_tensor(sides.candidate, wide), &honest,
                                                as_tensor(sides.truth, at::kDouble)));
  }
}

/// Tensors that are judged as one: a layer's experts.
struct Group {
  std::string name;
  std::vector<std::string> members;
};

/// The indexer's first: its gradients are the smallest, and drown where one is made of both.
std::vector<Group> groups_of(const std::map<std::string, at::Tensor>& tensors) {
  std::vector<Group> groups;
  for (const auto& [name, tensor] : tensors) {
    const std::string of = judge::gradient_group(name);
    auto found = std::ranges::find(groups, of, &Group::name);
    if (found == groups.end()) {
      found = groups.insert(groups.end(), {of, {}});
    }
    found->members.push_back(name);
  }
  std::ranges::stable_partition(
      groups, [](const Group& group) { return group.name.find(".indexer.") != std::string::npos; });
  return groups;
}

at::Tensor stacked(const std::map<std::string, at::Tensor>& tensors, const Group& group) {
  std::vector<at::Tensor> all;
  for (const std::string& name : group.members) {
    all.push_back(tensors.at(name));
  }
  return all.size() == 1 ? all[0] : at::stack(all);
}

/// ρ of what the ways of a group start from: each is a difference of masters, which are rounded to
/// float32 at their own size. In units of the run's dtype.
double size_of_starts(const SuiteContext& context, const Standing& from, const Group& group) {
  std::map<std::string, at::Tensor> starts;
  for (const std::string& name : group.members) {
    starts.emplace(name, from.at(name));
  }
  return judge::rms(cases::judged(stacked(starts, group)).values) *
         core::unit_roundoff(core::Dtype::kF32) / core::unit_roundoff(context.options().dtype);
}

void judge_tensors(const SuiteContext& context, const Sides& sides, const std::string& prefix,
                   std::map<std::string, at::Tensor> Step::*member, judge::CaseRecord& record) {
  const auto& candidate = sides.candidate.*member;
  const auto& truth = sides.truth.*member;
  if (!judge_names(names_of(candidate), names_of(truth), record)) {
    return;
  }
  for (const Group& group : groups_of(truth)) {
    const at::Tensor expected = stacked(truth, group);
    judge::TensorClaim claim = claim_of(context, sides, prefix + group.name, expected.numel());
    claim.both_axes = truth.at(group.members[0]).dim() == 2;
    for (const auto& [indexer, factor] : sides.truth.cancellations) {
      if (group.name.find(indexer) != std::string::npos) {
        claim.samples = std::min(*claim.samples, context.config().index_n_heads);
        claim.magnitude = factor * judge::rms(cases::judged(expected).values);
      }
    }
    if (member == &Step::moved) {
      claim.magnitude =
          std::max(claim.magnitude.value_or(0.0), size_of_starts(context, sides.from, group));
    }
    const judge::Tensor honest = cases::judged(stacked(sides.baseline.*member, group));
    record.comparisons.push_back(judge::compare(claim, cases::judged(stacked(candidate, group)),
                                                &honest, cases::judged(expected)));
  }
}

/// The weights that the next pass reads are the masters, rounded.
judge::Comparison judge_rounding(const Standing& to) {
  for (const auto& [name, state] : to.states) {
    const at::Tensor& used = to.at(name);
    if (!at::equal(used, state.master.to(used.scalar_type()))) {
      return cases::claim_holds(name, false, "the parameter is its master, rounded");
    }
  }
  return cases::claim_holds("masters", true, "every parameter is its master, rounded");
}

/// What the trainer is to learn from next.
struct Drawn {
  MicroBatches batch;
  Preview preview;
};

/// In float32 batches are drawn until no index score lies within rounding of its ReLU's kink; every
/// third one has some. In bfloat16 all have, and every side's gradients carry their share.
Drawn batch_clear_of_kinks(const SuiteContext& context, const train::Trainer& trainer,
                           std::int64_t number) {
  constexpr int kMostDraws = 40;  // two in three would do; the last is judged as it is
  const core::Dtype dtype = context.options().dtype;
  const double rounding = judge::a_priori_error(dtype, context.reduction_length());
  for (int draw = 0;; ++draw) {
    Drawn drawn{unequal_batches(context, number + kMostSteps * draw), {}};
    drawn.preview = preview_of(context, trainer, drawn.batch);
    if (dtype == core::Dtype::kBF16 || drawn.preview.nearest_kink > rounding ||
        draw == kMostDraws) {
      return drawn;
    }
  }
}

}  // namespace

void judge_steps(const SuiteContext& context, const StageRule& rule, int steps,
                 const TrainOptions& options, const std::vector<tensors::Adapter>& adapters,
                 judge::CaseRecord& record) {
  train::Trainer trainer = trainer_of(context, options, adapters);
  Standing from = Standing::of(trainer);
  for (int number = 0; number < steps; ++number) {
    const auto [batch, preview] = batch_clear_of_kinks(context, trainer, number);
    const train::StepReport report = trainer.step(batch);
    Standing to = Standing::of(trainer);
    record.comparisons.push_back(
        cases::claim_holds("topk_indices", report.loss.total == preview.loss.total,
                           "the choices that truth and baseline make are those of the step"));
    const Step candidate = candidate_step(context, report, from, to, options);
    const Step baseline =
        reference_step(context, context.activation(), rule, options, from, batch, preview.choices);
    const Step truth =
        reference_step(context, at::kDouble, rule, options, from, batch, preview.choices);
    const Sides sides{from, batch, candidate, baseline, truth};
    judge_numbers(context, sides, record);
    judge_tensors(context, sides, "exp_avg.", &Step::first_moments, record);
    judge_tensors(context, sides, "moved.", &Step::moved, record);
    record.comparisons.push_back(
        cases::claim_holds("step", candidate.counts == truth.counts, "AdamW counts alike"));
    record.comparisons.push_back(judge_rounding(to));
    from = std::move(to);
  }
}

}  // namespace sparity::suites::stages
