#include "suites/training/curve_cases.h"

#include "reference/train/training.h"
#include "src/train/trainer.h"
#include "suites/cases/skips.h"
#include "suites/cases/trace.h"
#include "suites/judge/gates.h"
#include "suites/judge/tolerances.h"
#include "suites/stages/stage_run.h"
#include "suites/training/declaration_text.h"

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
  std::vector<std::vector<cases::Forced>> choices;  // by step, of its one micro-batch
  bool choices_are_its_own = true;  // the pass that showed them has the step's loss, bit by bit
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

train::TrainOptions options_of(const SuiteContext& context) {
  train::TrainOptions options = train::defaults_of(train::Stage::kSparse);
  options.dtype = context.options().dtype;
  options.adamw.learning_rate = kRate;
  options.clip = kLargestNorm;
  options.steps = kSteps;
  train::settle(options);
  return options;
}

CandidateRun candidate_run(const SuiteContext& context,
                           const std::vector<tensors::Inputs>& batches) {
  train::Trainer trainer = stages::trainer_of(context, options_of(context));
  CandidateRun run;
  for (const tensors::Inputs& inputs : batches) {
    stages::Preview preview = stages::preview_of(context, trainer, {inputs});
    run.choices.push_back(std::move(preview.choices));
    const train::LossReport loss = trainer.step({inputs}).loss;
    run.losses.add(loss.total, loss.lm, loss.kl);
    run.choices_are_its_own = run.choices_are_its_own && loss.total == preview.loss.total;
  }
  return run;
}

Losses reference_losses(const SuiteContext& context, at::ScalarType compute,
                        const std::vector<tensors::Inputs>& batches,
                        const std::vector<std::vector<cases::Forced>>& choices) {
  const train::TrainOptions options = options_of(context);
  reference::train::Training training =
      stages::training_from(context, compute, stages::kSparseRule, options,
                            stages::Standing::of(stages::trainer_of(context, options)));
  Losses losses;
  for (std::size_t step = 0; step < batches.size(); ++step) {
    const reference::train::StepResult result =
        stages::step_under(training, {batches[step]}, choices[step]);
    losses.add(result.loss, result.lm, result.kl);
  }
  return losses;
}

/// As a tensor of losses, which are float32 or, in a float64 run, float64; a micro-batch's mean is
/// divided once more in float64.
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
  const bool in_f64 = context.options().dtype == core::Dtype::kF64;
  const core::Dtype wide = in_f64 ? core::Dtype::kF64 : core::Dtype::kF32;
  const judge::Tensor honest = as_tensor(baseline.*of.member, wide);
  const judge::Tensor expected = as_tensor(truth.*of.member, core::Dtype::kF64);
  const auto judged = [&](double factor) {
    std::vector<double> values = candidate.*of.member;
    for (double& value : values) {
      value *= factor;
    }
    return judge::compare(claim, as_tensor(std::move(values), wide), &honest, expected);
  };
  record.comparisons.push_back(judged(1.0));
  record.comparisons.push_back(cases::claim_holds(of.name + ".times_1.3", !judged(1.3).passed(),
                                                  "a curve of another size would fail"));
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
  if (cases::skip_another_model(context, record)) {
    return;
  }
  const std::vector<tensors::Inputs> batches = rows_of_text(context.options().seed);
  const CandidateRun run = candidate_run(context, batches);
  const Losses baseline = reference_losses(context, context.activation(), batches, run.choices);
  const Losses truth = reference_losses(context, at::kDouble, batches, run.choices);
  record.comparisons.push_back(
      cases::claim_holds("topk_indices", run.choices_are_its_own,
                         "the choices that truth and baseline make are those of the steps"));
  // A row's terms p·ln p and p·ln q are up to ln T each, and cancel. In bfloat16 that is more than
  // the loss itself, and every product is rounded far enough for the baseline to tell how much.
  const std::optional<double> of_kl =
      context.options().dtype == core::Dtype::kBF16
          ? std::nullopt
          : std::optional(std::log(static_cast<double>(kRowTokens)));
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
