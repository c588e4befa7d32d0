#include "suites/training/curve_cases.h"

#include "reference/train/training.h"
#include "src/model/model.h"
#include "src/tensors/recorder.h"
#include "src/train/objective.h"
#include "src/train/trainer.h"
#include "suites/cases/gradients.h"
#include "suites/cases/skips.h"
#include "suites/cases/trace.h"
#include "suites/judge/gates.h"
#include "suites/judge/tolerances.h"
#include "suites/training/declaration_text.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <utility>

namespace sparity::suites::training {

namespace {

using cases::Case;
using cases::SuiteContext;

namespace reference = sparity::reference;

constexpr std::int64_t kSteps = 20;
constexpr std::int64_t kRowTokens = 128;
constexpr double kRate = 3e-3;
constexpr double kLargestNorm = 1.0;

/// The losses of a run, one value a step.
struct Losses {
  std::vector<double> total;
  std::vector<double> lm;
  std::vector<double> kl;

  void add(double of_total, const std::optional<double>& of_lm,
           const std::optional<double>& of_kl) {
    total.push_back(of_total);
    lm.push_back(of_lm.value());
    kl.push_back(of_kl.value());
  }
};

/// The candidate's run, and every choice of keys and experts that it made.
struct CandidateRun {
  Losses losses;
  std::vector<cases::Forced> choices;  // by step
  bool choices_are_its_own = true;     // the pass that showed them has the step's loss, bit by bit
};

/// One row of 128 bytes of the text for each step, from a place that the seed decides; every byte
/// is a token and its own label.
std::vector<tensors::Inputs> rows_of_text(std::uint64_t seed) {
  const std::string_view text = declaration_text();
  const std::uint64_t rows = text.size() / kRowTokens;
  std::vector<tensors::Inputs> batches;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    const std::string_view row = text.substr((seed % rows + step) % rows * kRowTokens, kRowTokens);
    tensors::Inputs inputs;
    inputs.input_ids =
        at::tensor(std::vector<std::int64_t>(row.begin(), row.end()), at::kLong).unsqueeze(0);
    inputs.token_mask = at::ones({1, kRowTokens}, at::kBool);
    inputs.position_ids = at::arange(kRowTokens, at::kLong).unsqueeze(0);
    inputs.labels = inputs.input_ids;
    batches.push_back(std::move(inputs));
  }
  return batches;
}

train::Trainer trainer_of(const SuiteContext& context) {
  const tensors::Checkpoint& shared = context.checkpoint();
  std::map<std::string, at::Tensor> copies;
  for (const auto& [name, tensor] : shared.weights.tensors()) {
    copies.emplace(name, tensor.clone());
  }
  train::TrainOptions options = train::defaults_of(train::Stage::kSparse);
  options.dtype = context.options().dtype;
  options.adamw.learning_rate = kRate;
  options.clip = kLargestNorm;
  options.steps = kSteps;
  train::settle(options);
  return train::Trainer({shared.config,
                         shared.manifest,
                         tensors::WeightStore(shared.manifest, std::move(copies), "copies"),
                         {}},
                        options);
}

/// What the next step chooses: its own pass, seen from beside it. `loss` is what it came to.
cases::Forced choices_of(const SuiteContext& context, const train::Trainer& trainer,
                         const tensors::Inputs& inputs, train::LossReport& loss) {
  const at::NoGradGuard no_gradients;
  tensors::Recorder recorder({"*.topk_indices"});
  const train::BatchCounts counts = train::BatchCounts::of(inputs);
  model::ForwardOptions forward = trainer.options().forward_options();
  forward.objective.num_items = counts.labels;
  loss.add(train::evaluate(model::Model(context.config(), trainer.weights()), inputs, forward,
                           tensors::Probe(&recorder)),
           forward.objective, train::StepShare(forward.objective, counts, counts));
  return cases::selections_of({recorder.order(), recorder.captured()});
}

CandidateRun candidate_run(const SuiteContext& context,
                           const std::vector<tensors::Inputs>& batches) {
  train::Trainer trainer = trainer_of(context);
  CandidateRun run;
  for (const tensors::Inputs& inputs : batches) {
    train::LossReport shown;
    run.choices.push_back(choices_of(context, trainer, inputs, shown));
    const train::LossReport loss = trainer.step({inputs}).loss;
    run.losses.add(loss.total, loss.lm, loss.kl);
    run.choices_are_its_own = run.choices_are_its_own && loss.total == shown.total;
  }
  return run;
}

/// The stage once more, from its definition (spec 4.1): what is named so is trained so.
reference::train::TrainingPlan plan_of(const core::TensorManifest& manifest) {
  reference::train::TrainingPlan plan;
  plan.forward.attention = core::AttentionMode::kSparse;
  plan.objective = {.lm = true, .kl = core::KlOptions()};
  plan.groups = {{"model", kRate, {}}, {"indexer", kRate, {}}};
  plan.max_norm = kLargestNorm;
  for (const core::ParameterSpec& parameter : manifest.parameters()) {
    if (parameter.name.ends_with(".e_score_correction_bias")) {
      continue;
    }
    const bool of_indexer = parameter.name.find(".indexer.") != std::string::npos;
    plan.groups[of_indexer ? 1 : 0].parameters.insert(parameter.name);
    if (parameter.name.find("norm.") != std::string::npos) {
      plan.undecayed.insert(parameter.name);
    }
  }
  return plan;
}

Losses reference_losses(const SuiteContext& context, at::ScalarType compute,
                        const std::vector<tensors::Inputs>& batches,
                        const std::vector<cases::Forced>& choices) {
  const cases::SuiteOptions& options = context.options();
  const tensors::Checkpoint& shared = context.checkpoint();
  reference::train::Training training(
      reference::model::ReferenceModel::bind(
          shared.weights.rounded(shared.manifest, options.dtype, options.recipe), shared.config,
          compute, options.recipe),
      plan_of(shared.manifest));
  Losses losses;
  for (std::size_t step = 0; step < batches.size(); ++step) {
    tensors::Recorder recorder(std::vector<std::string>{});
    for (const auto& [name, value] : choices[step]) {
      recorder.force(name, value);
    }
    const reference::train::StepResult result =
        training.step({batches[step]}, {tensors::Probe(&recorder)});
    losses.add(result.loss, result.lm, result.kl);
  }
  return losses;
}

/// As a tensor of losses, which are float32; a micro-batch's mean is divided once more in float64.
judge::Tensor as_tensor(std::vector<double> values, core::Dtype dtype) {
  for (double& value : values) {
    value = judge::rounded(value, dtype);
  }
  return {dtype, {std::ssize(values)}, std::move(values)};
}

/// One loss of a run on the three sides.
struct Curve {
  std::string name;
  std::string title;
  std::vector<double> Losses::*member;
  std::optional<double> magnitude;  // of what is summed, where it cancels
};

/// A trajectory is one sample of rounding, however many steps it has: each starts where the one
/// before ended. So its chain is as long as all steps' together.
void judge_curve(const SuiteContext& context, const Curve& of, const Losses& candidate,
                 const Losses& baseline, const Losses& truth, judge::CaseRecord& record) {
  judge::TensorClaim claim;
  claim.tensor = of.name;
  claim.computed_in = context.options().dtype;
  claim.reduction_length = kSteps * context.config().num_hidden_layers *
                           judge::layer_reduction_length(context.config(), kRowTokens);
  claim.samples = 1;
  claim.magnitude = of.magnitude;
  const judge::Tensor honest = as_tensor(baseline.*of.member, core::Dtype::kF32);
  record.comparisons.push_back(
      judge::compare(claim, as_tensor(candidate.*of.member, core::Dtype::kF32), &honest,
                     as_tensor(truth.*of.member, core::Dtype::kF64)));
  judge::LossCurve curve{of.title, {}, truth.*of.member, baseline.*of.member, candidate.*of.member};
  curve.steps.resize(curve.truth.size());
  std::iota(curve.steps.begin(), curve.steps.end(), 1);
  record.curves.push_back(std::move(curve));
}

/// Mean of the first five steps less mean of the last five: one row is harder than another.
double fall_of(const std::vector<double>& losses) {
  constexpr std::ptrdiff_t kEnds = 5;
  return (std::accumulate(losses.begin(), losses.begin() + kEnds, 0.0) -
          std::accumulate(losses.end() - kEnds, losses.end(), 0.0)) /
         kEnds;
}

/// The model learns: its loss falls by at least half of what the truth's does, and that is enough
/// to be called learning.
void judge_fall(const Losses& candidate, const Losses& truth, judge::CaseRecord& record) {
  const double wanted = fall_of(truth.lm);
  record.conditions.push_back({"the truth's LM loss falls by more than 1 nat", wanted > 1, true,
                               fmt::format("by {:.3f}", wanted)});
  judge::Comparison comparison;
  comparison.tensor = "lm_loss.fall";
  comparison.gates.push_back(judge::make_gate("falls", wanted / 2, fall_of(candidate.lm), true,
                                              "half of the truth's fall, and the candidate's"));
  record.comparisons.push_back(std::move(comparison));
}

void judge_training(const SuiteContext& context, judge::CaseRecord& record) {
  if (!context.options().embedded) {
    cases::skip(record,
                "trains the embedded model alone: optimizers and float64 copies of another "
                "might not fit in memory");
    return;
  }
  const std::vector<tensors::Inputs> batches = rows_of_text(context.options().seed);
  const CandidateRun run = candidate_run(context, batches);
  const Losses baseline = reference_losses(context, context.activation(), batches, run.choices);
  const Losses truth = reference_losses(context, at::kDouble, batches, run.choices);
  record.comparisons.push_back(
      cases::claim_holds("topk_indices", run.choices_are_its_own,
                         "the choices that truth and baseline make are those of the steps"));
  // A row's terms p·ln p and p·ln q are up to ln T each, and cancel.
  const double of_kl = std::log(static_cast<double>(kRowTokens));
  for (const Curve& curve : {Curve{"loss", "LM + KL loss, stage sparse", &Losses::total, {}},
                             Curve{"lm_loss", "LM loss, stage sparse", &Losses::lm, {}},
                             Curve{"kl_loss", "KL loss, stage sparse", &Losses::kl, of_kl}}) {
    judge_curve(context, curve, run.losses, baseline, truth, record);
  }
  judge_fall(run.losses, truth, record);
}

}  // namespace

std::vector<Case> curve_cases() { return {{"training", "twenty_steps_on_text", judge_training}}; }

}  // namespace sparity::suites::training
