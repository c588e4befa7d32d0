// The reference's training steps on the tiny model: parts that make up a batch, what moves and by
// how much, and what stays.

#include "reference/train/balance_loss.h"
#include "reference/train/training.h"
#include "src/core/error.h"
#include "src/tensors/checkpoint.h"
#include "src/tensors/recorder.h"
#include "suites/selftest/tensor_values.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace sparity::selftest {
namespace {

namespace model = reference::model;
namespace train = reference::train;
using core::KlReduction;
using train::ClipScope;
using train::StepResult;
using train::TrainedGroup;
using train::Training;
using train::TrainingPlan;

constexpr std::int64_t kTokens = 17;  // above index_topk: 12
constexpr std::int64_t kFewer = 11;   // tokens of the second row
const std::string kLayer = "model.layers.2.";
const std::string kBias = kLayer + "mlp.gate.e_score_correction_bias";

model::ReferenceModel tiny_model(core::Dtype dtype = core::Dtype::kF64) {
  const core::ModelConfig config =
      core::read_model_config(SPARITY_SOURCE_DIR "/fixtures/configs/tiny.json").config;
  const core::TensorManifest manifest(config);
  const tensors::WeightStore weights =
      tensors::seeded_checkpoint(config, 5, core::Dtype::kF64).weights;
  return model::ReferenceModel::bind(
      weights.rounded(manifest, dtype, core::Recipe::kOfficial), config,
      dtype == core::Dtype::kF64 ? at::kDouble : at::kBFloat16, core::Recipe::kOfficial);
}

const model::ReferenceModel& tiny() {
  static const model::ReferenceModel kModel = tiny_model();
  return kModel;
}

/// Rows of `inputs` from `first` on, cut to `tokens`.
tensors::Inputs rows_of(const tensors::Inputs& inputs, std::int64_t first, std::int64_t rows,
                        std::int64_t tokens) {
  const auto cut = [&](const at::Tensor& all) {
    return all.narrow(0, first, rows).narrow(1, 0, tokens);
  };
  tensors::Inputs few;
  few.input_ids = cut(inputs.input_ids);
  few.token_mask = cut(inputs.token_mask);
  few.position_ids = cut(inputs.position_ids);
  few.labels = cut(inputs.labels);
  return few;
}

/// Three rows of 17, 11 and 11 tokens as one padded batch, and as two micro-batches of unequal
/// length, two rows and one.
struct Batch {
  Batch() {
    const tensors::Inputs first = tensors::seeded_inputs(tiny().config, 6, kTokens);
    const tensors::Inputs second =
        rows_of(tensors::seeded_inputs(tiny().config, 7, kTokens), 1, 1, kTokens);
    whole.input_ids = at::cat({first.input_ids, second.input_ids});
    whole.token_mask = at::cat({first.token_mask, second.token_mask});
    whole.position_ids = at::cat({first.position_ids, second.position_ids});
    whole.labels = at::cat({first.labels, second.labels});
    parts = {first, rows_of(second, 0, 1, kFewer)};
    padded_parts = {first, second};
  }

  tensors::Inputs whole;
  std::vector<tensors::Inputs> parts;
  std::vector<tensors::Inputs> padded_parts;
};

const Batch& batch() {
  static const Batch kBatch;
  return kBatch;
}

/// Attention and a router in one group, an indexer in the other, with all losses.
TrainingPlan plan_of(KlReduction reduction = KlReduction::kMeanRowsLayers) {
  TrainingPlan plan;
  plan.objective = {.kl = core::KlOptions{.reduction = reduction, .coefficient = 0.375},
                    .balance = {.coefficient = 0.5}};
  plan.groups = {{"model",
                  0.01,
                  {kLayer + "self_attn.o_proj.weight", kLayer + "mlp.gate.weight",
                   kLayer + "mlp.experts.7.down_proj.weight", kLayer + "input_layernorm.weight"}},
                 {"indexer", 0.02, {kLayer + "self_attn.indexer.wk.weight"}}};
  // eps far above rounding: else the first steps are little but signs.
  plan.adamw = {.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.3};
  plan.undecayed = {kLayer + "input_layernorm.weight"};
  return plan;
}

double largest(const at::Tensor& tensor) { return tensor.abs().max().item<double>(); }

void expect_near(const at::Tensor& a, const at::Tensor& b, double tolerance,
                 const std::string& name) {
  EXPECT_LE(largest(a - b), tolerance * std::max(largest(b), 1e-3)) << name;
}

/// A gradient as clipping left it for the first step: m = (1 − β1) · g.
at::Tensor first_gradient(const Training& training, const std::string& group,
                          const std::string& name) {
  return training.optimizer(group).states().at(name).m / (1.0 - 0.8);
}

// --- parts and wholes ---------------------------------------------------------------------------

void expect_same_run(const TrainingPlan& plan, const std::vector<tensors::Inputs>& parts) {
  Training in_parts(tiny(), plan);
  Training at_once(tiny(), plan);
  for (int step = 0; step < 2; ++step) {
    const StepResult a = in_parts.step(parts);
    const StepResult b = at_once.step({batch().whole});
    EXPECT_NEAR(a.loss, b.loss, 1e-11 * b.loss);
    EXPECT_NEAR(a.lm.value(), b.lm.value(), 1e-11 * b.lm.value());
    EXPECT_NEAR(a.kl.value(), b.kl.value(), 1e-11 * b.kl.value());
    EXPECT_NEAR(a.balance.value(), b.balance.value(), 1e-11 * b.balance.value());
    EXPECT_NEAR(a.loss, *a.lm + 0.375 * *a.kl + *a.balance, 1e-11 * a.loss);
    EXPECT_NEAR(a.total_norm, b.total_norm, 1e-11 * b.total_norm);
    ASSERT_EQ(a.gradients.size(), 5U);
    ASSERT_EQ(b.gradients.size(), 5U);
    for (const auto& [name, gradient] : b.gradients) {
      EXPECT_GT(largest(gradient), 1e-6) << name;
      expect_near(a.gradients.at(name), gradient, 1e-10, name);
    }
  }
  for (const auto& [name, parameter] : at_once.model().parameters) {
    expect_near(in_parts.model().parameters.at(name), parameter, 1e-10, name);
  }
}

TEST(ReferenceTrainSteps, MicroBatchesOfUnequalLengthAreOnePaddedBatch) {
  for (const KlReduction reduction : {KlReduction::kSum, KlReduction::kMeanRowsLayers,
                                      KlReduction::kNumItems, KlReduction::kLayerSumOfRowMeans}) {
    expect_same_run(plan_of(reduction), batch().parts);
  }
  // This one counts padding, so that only equally long parts make up the batch.
  expect_same_run(plan_of(KlReduction::kMeanPositionsLayers), batch().padded_parts);
}

TEST(ReferenceTrainSteps, OneMicroBatchIsItsObjective) {
  const TrainingPlan plan = plan_of();
  Training training(tiny(), plan);
  const StepResult result = training.step({batch().whole});
  const train::Objective expected =
      train::objective(tiny(), batch().whole, plan.forward, plan.objective);
  EXPECT_NEAR(result.loss, expected.loss.item<double>(), 1e-12 * result.loss);
  EXPECT_NEAR(result.kl.value(), expected.kl_loss.item<double>(), 1e-12);
  EXPECT_DOUBLE_EQ(result.balance.value(), expected.balance_loss.item<double>());
  for (const auto& [name, gradient] : result.gradients) {
    expect_near(gradient, expected.gradients.at(name), 1e-12, name);
  }
  EXPECT_EQ(result.group_norms.size(), 2U);
  EXPECT_NEAR(std::hypot(result.group_norms.at("model"), result.group_norms.at("indexer")),
              result.total_norm, 1e-14);
  EXPECT_DOUBLE_EQ(result.group_norms.at("indexer"),
                   train::gradient_norm(expected.gradients, plan.groups[1].parameters));
}

TEST(ReferenceTrainSteps, LossesThatAreNotWantedAreAbsent) {
  TrainingPlan plan = plan_of();
  plan.objective = {.lm = false, .kl = core::KlOptions{}};
  const StepResult result = Training(tiny(), plan).step(batch().parts);
  EXPECT_FALSE(result.lm.has_value());
  EXPECT_FALSE(result.balance.has_value());
  EXPECT_DOUBLE_EQ(result.loss, result.kl.value());
  EXPECT_EQ(result.gradients.size(), 1U) << "the KL loss reaches the indexer alone";
}

TEST(ReferenceTrainSteps, BatchScopeWeighsMicroBatchesByTheirRows) {
  TrainingPlan plan = plan_of();
  plan.objective = {.balance = {.scope = core::BalanceScope::kBatch, .coefficient = 0.5}};
  const StepResult result = Training(tiny(), plan).step(batch().parts);
  const auto balance = [&](const tensors::Inputs& inputs) {
    return train::objective(tiny(), inputs, {}, plan.objective).balance_loss.item<double>();
  };
  const double expected = (2.0 * balance(batch().parts[0]) + balance(batch().parts[1])) / 3.0;
  EXPECT_NEAR(result.balance.value(), expected, 1e-12 * expected);
  EXPECT_GT(std::abs(expected - balance(batch().whole)), 1e-4 * expected);
}

// --- what a step changes ------------------------------------------------------------------------

TEST(ReferenceTrainSteps, FirstStepHasAClosedForm) {
  const TrainingPlan plan = plan_of();
  Training training(tiny(), plan);
  const StepResult result = training.step(batch().parts);
  // Both moments are corrected to g and g²: p · (1 − lr · wd) − lr · g / (|g| + eps).
  for (const TrainedGroup& group : plan.groups) {
    EXPECT_EQ(result.rates.at(group.name), group.peak_rate);
    for (const std::string& name : group.parameters) {
      const at::Tensor g = result.gradients.at(name);
      const double decay = plan.undecayed.contains(name) ? 0.0 : 0.3;
      const at::Tensor expected = tiny().parameters.at(name) * (1.0 - group.peak_rate * decay) -
                                  g / (g.abs() + 1e-3) * group.peak_rate;
      expect_near(training.model().parameters.at(name), expected, 1e-12, name);
    }
  }
}

TEST(ReferenceTrainSteps, FrozenParametersKeepTheirBytes) {
  const model::ReferenceModel start = tiny_model();
  const TrainingPlan plan = plan_of();
  Training training(start, plan);
  training.step(batch().parts);
  training.step(batch().parts);
  std::size_t moved = 0;
  for (const auto& [name, parameter] : training.model().parameters) {
    const bool trained = std::ranges::any_of(
        plan.groups,
        [&name = name](const TrainedGroup& group) { return group.parameters.contains(name); });
    moved += trained ? 1 : 0;
    EXPECT_EQ(parameter.equal(tiny().parameters.at(name)), !trained) << name;
    EXPECT_TRUE(start.parameters.at(name).equal(tiny().parameters.at(name)))
        << name << " of the model that the run started from";
  }
  EXPECT_EQ(moved, 5U);
  EXPECT_TRUE(training.model().layers[2].self_attn.o_proj.weight.is_same(
      training.model().parameters.at(kLayer + "self_attn.o_proj.weight")));
}

TEST(ReferenceTrainSteps, ClippingKnowsItsScope) {
  const std::string indexer = kLayer + "self_attn.indexer.wk.weight";
  const std::string router = kLayer + "mlp.gate.weight";
  TrainingPlan plan = plan_of();
  const StepResult found = Training(tiny(), plan).step(batch().parts);
  const double own = found.group_norms.at("indexer");
  const double others = found.group_norms.at("model");
  // Between the two norms: together both groups are clipped, alone only the larger one.
  ASSERT_LT(own, others);
  plan.max_norm = (own + others) / 2;
  for (const ClipScope scope : {ClipScope::kAll, ClipScope::kGroup}) {
    plan.clip_scope = scope;
    Training training(tiny(), plan);
    const StepResult result = training.step(batch().parts);
    EXPECT_EQ(result.total_norm, found.total_norm) << "the norm is that before clipping";
    const bool all = scope == ClipScope::kAll;
    const double common = plan.max_norm / (found.total_norm + 1e-6);
    const double model_scale = all ? common : plan.max_norm / (others + 1e-6);
    expect_near(first_gradient(training, "model", router),
                result.gradients.at(router) * model_scale, 1e-12, router);
    expect_near(first_gradient(training, "indexer", indexer),
                result.gradients.at(indexer) * (all ? common : 1.0), 1e-12, indexer);
  }
}

TEST(ReferenceTrainSteps, BiasesMoveByTheLoadOfTheWholeStep) {
  TrainingPlan plan = plan_of();
  plan.bias_update_rate = 0.125;
  Training training(tiny(), plan);
  training.step(batch().parts);
  const at::Tensor before = tiny().parameters.at(kBias);
  const at::Tensor move = training.model().parameters.at(kBias) - before;
  const auto load_of = [](const tensors::Inputs& inputs) {
    return train::objective(tiny(), inputs, {}, {}).expert_loads.at(kBias).to(at::kDouble);
  };
  const at::Tensor load = load_of(batch().whole);
  expect_close(move, doubles_of((load.mean() - load).sign() * 0.125));
  const at::Tensor part = load_of(batch().parts[1]);
  EXPECT_FALSE((part.mean() - part).sign().equal((load.mean() - load).sign()))
      << "the last micro-batch alone would have done the same";
  EXPECT_TRUE(training.model().layers[2].self_attn.o_proj.weight.defined());
  Training still(tiny(), plan_of());
  still.step(batch().parts);
  EXPECT_TRUE(still.model().parameters.at(kBias).equal(before));
}

TEST(ReferenceTrainSteps, RatesFollowTheSchedule) {
  TrainingPlan plan = plan_of();
  plan.schedule = {.kind = core::ScheduleKind::kCosine,
                   .warmup_steps = 2,
                   .total_steps = 4,
                   .least_fraction = 0.2};
  plan.objective = {};
  Training training(tiny(), plan);
  const std::vector<tensors::Inputs> one_row = {batch().parts[1]};
  for (const double fraction : {0.5, 1.0, 1.0, 0.6, 0.2}) {
    const StepResult result = training.step(one_row);
    EXPECT_NEAR(result.rates.at("model"), 0.01 * fraction, 1e-15);
    EXPECT_NEAR(result.rates.at("indexer"), 0.02 * fraction, 1e-15);
  }
  EXPECT_EQ(training.steps_taken(), 5);
  // The LM loss never reaches the indexer: its state has seen no step.
  EXPECT_EQ(training.optimizer("indexer").states().begin()->second.step, 0);
  EXPECT_EQ(training.optimizer("model").states().begin()->second.step, 5);
}

TEST(ReferenceTrainSteps, NarrowParametersAreTheirMastersRounded) {
  const model::ReferenceModel start = tiny_model(core::Dtype::kBF16);
  const std::string o_proj = kLayer + "self_attn.o_proj.weight";
  TrainingPlan plan = plan_of();
  for (TrainedGroup& group : plan.groups) {
    group.peak_rate = 1e-5;  // far below what bfloat16 resolves
  }
  Training training(start, plan);
  for (int step = 0; step < 3; ++step) {
    const StepResult result = training.step(batch().parts);
    EXPECT_EQ(result.gradients.at(o_proj).scalar_type(), at::kFloat);
  }
  const at::Tensor master = training.optimizer("model").states().at(o_proj).master;
  const at::Tensor parameter = training.model().parameters.at(o_proj);
  EXPECT_EQ(master.scalar_type(), at::kFloat);
  EXPECT_TRUE(parameter.equal(master.to(at::kBFloat16)));
  EXPECT_FALSE(master.equal(parameter.to(at::kFloat)));
  // Steps that are lost in the parameter are kept in the master.
  EXPECT_GT(largest(master - start.parameters.at(o_proj).to(at::kFloat)), 2e-5);
  EXPECT_EQ(training.model().parameters.at(kLayer + "mlp.gate.weight").scalar_type(),
            start.parameters.at(kLayer + "mlp.gate.weight").scalar_type());
}

TEST(ReferenceTrainSteps, EveryMicroBatchHasAProbeOfItsOwn) {
  const std::string name = "layers.1.self_attn.indexer.topk_indices";
  tensors::Recorder first({name});
  tensors::Recorder second({name});
  Training(tiny(), plan_of())
      .step(batch().parts, {tensors::Probe(&first), tensors::Probe(&second)});
  EXPECT_EQ(first.captured().at(name).sizes(), (std::vector<std::int64_t>{2, kTokens, 12}));
  EXPECT_EQ(second.captured().at(name).sizes(), (std::vector<std::int64_t>{1, kFewer, kFewer}));
}

TEST(ReferenceTrainSteps, RefusesPlansThatContradictThemselves) {
  const auto expect_refused = [](const TrainingPlan& plan) {
    EXPECT_THROW(Training(tiny(), plan), core::Error);
  };
  TrainingPlan unknown = plan_of();
  unknown.groups[0].parameters.insert("no.such.weight");
  expect_refused(unknown);
  TrainingPlan twice = plan_of();
  twice.groups[1].parameters.insert(kLayer + "mlp.gate.weight");
  expect_refused(twice);
  TrainingPlan empty = plan_of();
  empty.groups[1].parameters.clear();
  expect_refused(empty);
  TrainingPlan counted = plan_of();
  counted.objective.lm_items = 3;
  expect_refused(counted);
  Training training(tiny(), plan_of());
  EXPECT_THROW(training.step({}), core::Error);
}

}  // namespace
}  // namespace sparity::selftest
