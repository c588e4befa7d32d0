// Adapters on the reference in float64: against plain loops, against the same change merged into
// the weights, and against differences; who is trained, and what dropout does.

#include "reference/model/assemble.h"
#include "reference/model/linear.h"
#include "reference/model/merge.h"
#include "reference/scalar/adapter.h"
#include "reference/scalar/linear.h"
#include "reference/train/training.h"
#include "src/core/error.h"
#include "src/tensors/checkpoint.h"
#include "src/tensors/recorder.h"
#include "suites/selftest/tensor_values.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace sparity::selftest {
namespace {

namespace model = reference::model;
namespace scalar = reference::scalar;
namespace train = reference::train;
using tensors::Adapter;
using tensors::LowRankPair;
using train::NamedTensors;

constexpr std::int64_t kAdaptedTokens = 17;  // above index_topk: 12

const tensors::Checkpoint& tiny_checkpoint() {
  static const tensors::Checkpoint kCheckpoint = tensors::seeded_checkpoint(
      core::read_model_config(SPARITY_SOURCE_DIR "/fixtures/configs/tiny.json").config, 5,
      core::Dtype::kF64);
  return kCheckpoint;
}

const tensors::Inputs& short_inputs() {  // 17 and 11 tokens
  static const tensors::Inputs kInputs =
      tensors::seeded_inputs(tiny_checkpoint().config, 6, kAdaptedTokens);
  return kInputs;
}

Adapter adapter_on(const std::vector<std::string>& modules, const std::string& name = "default",
                   double dropout = 0.0) {
  core::AdapterConfig config;
  config.r = 2;
  config.lora_alpha = 5;
  config.lora_dropout = dropout;
  config.target_modules.names = modules;
  return tensors::seeded_adapter(config, tiny_checkpoint().manifest, name, 8, "test",
                                 /*filled=*/true);
}

/// Every linear layer of the model, experts, router and head included.
const std::vector<std::string> kEverything = {
    "q_a_proj", "q_b_proj",     "kv_a_proj_with_mqa", "kv_b_proj", "o_proj",    "wq_b",
    "wk",       "weights_proj", "gate_proj",          "up_proj",   "down_proj", "mlp.gate",
    "lm_head"};

model::ReferenceModel bind(std::vector<Adapter> adapters, at::ScalarType type = at::kDouble) {
  return model::ReferenceModel::bind(tiny_checkpoint().weights, tiny_checkpoint().config, type,
                                     core::Recipe::kOfficial, std::move(adapters));
}

double largest(const at::Tensor& tensor) { return tensor.abs().max().item<double>(); }

LowRankPair random_pair(unsigned seed, double scaling, double dropout = 0.0) {
  return {.a = random_tensor({2, 7}, seed),
          .b = random_tensor({5, 2}, seed + 1),
          .scaling = scaling,
          .dropout = dropout,
          .name = "adapter/" + std::to_string(seed)};
}

// --- one layer ----------------------------------------------------------------------------------

TEST(ReferenceAdapters, PairsAddTheirLowRankProducts) {
  const at::Tensor x = random_tensor({7}, 1);
  model::Linear layer(random_tensor({5, 7}, 2));
  layer.pairs = {random_pair(3, 2.5), random_pair(5, -0.75)};
  Doubles expected = scalar::linear(doubles_of(layer.weight), doubles_of(x));
  for (const LowRankPair& pair : layer.pairs) {
    const Doubles added =
        scalar::low_rank(doubles_of(pair.a), doubles_of(pair.b), doubles_of(x), pair.scaling);
    std::ranges::transform(expected, added, expected.begin(), std::plus<>());
  }
  expect_close(model::linear(x, layer), expected);
}

TEST(ReferenceAdapters, NarrowProductsAreRoundedBeforeAndAfterTheSum) {
  const at::Tensor x = random_tensor({3, 7}, 1).to(at::kBFloat16);
  model::Linear layer(random_tensor({5, 7}, 2).to(at::kBFloat16));
  const at::Tensor product = model::linear(x, layer);
  layer.pairs = {random_pair(3, 2.5)};
  layer.pairs[0].a = layer.pairs[0].a.to(at::kFloat);
  layer.pairs[0].b = layer.pairs[0].b.to(at::kFloat);
  const at::Tensor change = at::matmul(layer.pairs[0].b, layer.pairs[0].a) * 2.5;
  const at::Tensor sum = product.to(at::kFloat) + at::matmul(x.to(at::kFloat), change.t());
  EXPECT_TRUE(model::linear(x, layer).equal(sum.to(at::kBFloat16)));
  EXPECT_EQ(layer.to(at::kFloat).pairs.size(), 1U);
}

TEST(ReferenceAdapters, DropoutIsDrawnForEachPairAndOnlyInTraining) {
  const at::Tensor x = random_tensor({2, 3, 7}, 1);
  model::Linear layer(random_tensor({5, 7}, 2));
  layer.pairs = {random_pair(3, 2.5, 0.25), random_pair(5, 1.5, 0.5)};
  at::Tensor kept = at::matmul(x, layer.weight.t());
  at::Tensor dropped = kept;
  const tensors::DropoutDraw draw = {.seed = 4, .step = 3, .micro_batch = 1};
  for (const LowRankPair& pair : layer.pairs) {
    const at::Tensor change = (at::matmul(pair.b, pair.a) * pair.scaling).t();
    const at::Tensor mask = tensors::dropout_mask(pair, draw, x.sizes());
    EXPECT_TRUE(mask.any().item<bool>() && !mask.all().item<bool>());
    kept = kept + at::matmul(x, change);
    dropped = dropped + at::matmul(x.masked_fill(mask.logical_not(), 0.0), change) *
                            (1.0 / (1.0 - pair.dropout));
  }
  expect_close(model::linear(x, layer), doubles_of(kept));
  layer.draw = draw;
  expect_close(model::linear(x, layer), doubles_of(dropped));
}

// --- merging ------------------------------------------------------------------------------------

TEST(ReferenceAdapters, MergedWeightsAreThoseOfPlainLoops) {
  const Adapter adapter = adapter_on({"o_proj", "mlp.gate", "experts.2.up_proj"});
  const NamedTensors merged = model::merged(tiny_checkpoint().weights, {adapter});
  EXPECT_EQ(merged.size(), 4U + 3U + 3U);
  for (const core::AdapterPair& pair : adapter.layout.pairs()) {
    const at::Tensor& a = adapter.tensors.at(pair.a);
    const at::Tensor& b = adapter.tensors.at(pair.b);
    expect_close(
        merged.at(pair.parameter),
        scalar::merged(doubles_of(tiny_checkpoint().weights.at(pair.parameter)),
                       doubles_of(a.to(at::kDouble)), doubles_of(b.to(at::kDouble)), 2, 2.5));
  }
}

TEST(ReferenceAdapters, MergingRoundsOnceToTheWeightsDtype) {
  const Adapter adapter = adapter_on({"o_proj"});
  const tensors::WeightStore narrow = tiny_checkpoint().weights.rounded(
      tiny_checkpoint().manifest, core::Dtype::kBF16, core::Recipe::kHf);
  const std::string name = "model.layers.1.self_attn.o_proj.weight";
  const at::Tensor merged = model::merged(narrow, {adapter}).at(name);
  const LowRankPair pair = tensors::pairs_of({adapter}).at(name).at(0);
  const at::Tensor exact = narrow.at(name).to(at::kFloat) + at::matmul(pair.b, pair.a) * 2.5;
  EXPECT_TRUE(merged.equal(exact.to(at::kBFloat16)));
}

/// Logits with `adapters` equal those of the weights that they are merged into, and not those
/// without.
void expect_merging_changes_nothing(const std::vector<Adapter>& adapters) {
  const model::ReferenceModel bare = bind({});
  const at::Tensor adapted = model::forward(bind(adapters), short_inputs());
  const at::Tensor merged = model::forward(
      model::with_values(bare, model::merged(tiny_checkpoint().weights, adapters)), short_inputs());
  const at::Tensor tokens = short_inputs().token_mask.unsqueeze(-1);
  EXPECT_LE(largest((adapted - merged) * tokens), 1e-11 * largest(merged * tokens));
  EXPECT_GT(largest((adapted - model::forward(bare, short_inputs())) * tokens), 1e-2);
}

TEST(ReferenceAdapters, AnAdaptedModelIsTheMergedOne) {
  expect_merging_changes_nothing({adapter_on(kEverything)});
  expect_merging_changes_nothing(
      {adapter_on({"q_a_proj", "o_proj"}, "llm"), adapter_on({"q_a_proj", "wk"}, "indexer")});
}

TEST(ReferenceAdapters, StackedExpertsTakeTheirShares) {
  core::AdapterConfig config;
  config.r = 2;
  config.lora_alpha = 5;
  config.target_parameters = {"gate_up_proj", "down_proj"};
  expect_merging_changes_nothing({tensors::seeded_adapter(config, tiny_checkpoint().manifest,
                                                          "default", 8, "test", /*filled=*/true)});
}

TEST(ReferenceAdapters, WithoutChangeTheModelStaysBitForBit) {
  Adapter idle = adapter_on(kEverything);
  for (auto& [name, tensor] : idle.tensors) {
    if (name.find(".lora_B") != std::string::npos) {
      tensor = at::zeros_like(tensor);
    }
  }
  EXPECT_TRUE(
      model::forward(bind({idle}), short_inputs()).equal(model::forward(bind({}), short_inputs())));
}

// --- gradients ----------------------------------------------------------------------------------

const train::ObjectiveOptions kJoint = {.kl = core::KlOptions{}};

bool of_indexer(const std::string& name) { return name.find(".indexer.") != std::string::npos; }

TEST(ReferenceAdapters, GradientsAreTheAdaptersAlone) {
  const model::ReferenceModel adapted = bind({adapter_on(kEverything)});
  const train::Objective joint = train::objective(adapted, short_inputs(), {}, kJoint);
  const NamedTensors trainable = model::trainable(adapted);
  ASSERT_EQ(joint.gradients.size(), trainable.size());
  for (const auto& [name, gradient] : joint.gradients) {
    EXPECT_TRUE(name.starts_with("base_model.model.") && name.ends_with(".default.weight"));
    EXPECT_EQ(gradient.sizes(), trainable.at(name).sizes()) << name;
    EXPECT_EQ(gradient.scalar_type(), at::kDouble);
  }
  const train::Objective lm = train::objective(adapted, short_inputs(), {}, {});
  const train::Objective kl =
      train::objective(adapted, short_inputs(), {}, {.lm = false, .kl = core::KlOptions{}});
  for (const auto& [name, gradient] : joint.gradients) {
    const NamedTensors& own = of_indexer(name) ? kl.gradients : lm.gradients;
    EXPECT_LE(largest(own.at(name) - gradient), 1e-12 * largest(gradient)) << name;
    EXPECT_FALSE((of_indexer(name) ? lm.gradients : kl.gradients).contains(name)) << name;
  }
}

TEST(ReferenceAdapters, IdleExpertsHaveZeros) {
  const model::ReferenceModel adapted = bind({adapter_on({"down_proj"})});
  tensors::Inputs few = short_inputs();
  few.input_ids = few.input_ids.narrow(1, 0, 3).narrow(0, 0, 1);
  few.token_mask = few.token_mask.narrow(1, 0, 3).narrow(0, 0, 1);
  few.position_ids = few.position_ids.narrow(1, 0, 3).narrow(0, 0, 1);
  few.labels = few.labels.narrow(1, 0, 3).narrow(0, 0, 1);
  const train::Objective objective = train::objective(adapted, few, {}, {});
  EXPECT_EQ(objective.gradients.size(), model::trainable(adapted).size());
  std::size_t zeros = 0;
  for (const auto& [name, gradient] : objective.gradients) {
    const bool expert = name.find(".experts.") != std::string::npos;
    EXPECT_TRUE(expert || largest(gradient) > 0.0) << name;
    zeros += largest(gradient) == 0.0 ? 1 : 0;
  }
  EXPECT_GE(zeros, 2U * 3U * (12U - 9U)) << "three tokens reach nine experts of a layer at most";
  EXPECT_LT(zeros, 2U * 3U * 12U);
  // Where the layers' experts get nothing at all, there is nothing to step.
  const train::Objective kl = train::objective(bind({adapter_on({"wk", "down_proj"})}), few, {},
                                               {.lm = false, .kl = core::KlOptions{}});
  EXPECT_EQ(kl.gradients.size(), 2U * 4U);
}

/// ∂loss/∂(direction of one tensor) by central differences, all selections as they were, of the one
/// loss that reaches it: the other sees it through what is detached.
void expect_derivative(const model::ReferenceModel& adapted, const std::string& name) {
  train::ObjectiveOptions options = kJoint;
  if (of_indexer(name)) {
    options.lm = false;
  } else {
    options.kl.reset();
  }
  tensors::Recorder recorder({"*topk_indices"});
  const NamedTensors gradients =
      train::objective(adapted, short_inputs(), {}, options, tensors::Probe(&recorder)).gradients;
  const auto loss_at = [&](const at::Tensor& value) {
    tensors::Recorder forcing;
    for (const auto& [selection, indices] : recorder.captured()) {
      forcing.force(selection, indices);
    }
    return train::objective(model::with_values(adapted, {{name, value}}), short_inputs(), {},
                            options, tensors::Probe(&forcing))
        .loss.item<double>();
  };
  const at::Tensor start = model::trainable(adapted).at(name);
  const at::Tensor direction = random_tensor(start.sizes(), 30);
  constexpr double kStep = 1e-6;
  const double difference =
      (loss_at(start + direction * kStep) - loss_at(start - direction * kStep)) / (2 * kStep);
  const double derivative = (gradients.at(name) * direction).sum().item<double>();
  EXPECT_GT(std::abs(derivative), 1e-7) << name;
  EXPECT_NEAR(difference, derivative, 1e-5 * std::abs(derivative) + 1e-9) << name;
}

TEST(ReferenceAdapters, GradientsAreDerivatives) {
  const model::ReferenceModel adapted = bind({adapter_on(kEverything)});
  const std::string layer = "base_model.model.model.layers.2.";
  for (const char* module : {"self_attn.q_a_proj", "self_attn.kv_b_proj", "self_attn.indexer.wq_b",
                             "self_attn.indexer.weights_proj", "mlp.gate", "mlp.experts.7.up_proj",
                             "mlp.shared_experts.down_proj"}) {
    expect_derivative(adapted, layer + module + ".lora_A.default.weight");
    expect_derivative(adapted, layer + module + ".lora_B.default.weight");
  }
  expect_derivative(adapted, "base_model.model.lm_head.lora_A.default.weight");
}

TEST(ReferenceAdapters, RefusesALossThatNothingTrainableHasAShareIn) {
  const model::ReferenceModel indexer = bind({adapter_on({"wk"})});
  EXPECT_THROW(train::objective(indexer, short_inputs(), {}, {}), core::Error);
}

// --- training -----------------------------------------------------------------------------------

/// Two adapters with a rate of their own each.
train::TrainingPlan plan_of(const model::ReferenceModel& adapted) {
  train::TrainingPlan plan;
  plan.objective = kJoint;
  plan.groups = {{"llm", 0.01, {}}, {"indexer", 0.02, {}}};
  for (const auto& [name, tensor] : model::trainable(adapted)) {
    plan.groups[of_indexer(name) ? 1 : 0].parameters.insert(name);
  }
  plan.adamw = {.eps = 1e-3};
  return plan;
}

TEST(ReferenceAdapters, TrainingMovesAdaptersInFloat32OverAFixedBase) {
  const model::ReferenceModel start =
      bind({adapter_on({"o_proj"}, "llm"), adapter_on({"wk"}, "indexer")}, at::kBFloat16);
  train::Training training(start, plan_of(start));
  training.step({short_inputs()});
  training.step({short_inputs()});
  for (const auto& [name, parameter] : training.model().parameters) {
    EXPECT_TRUE(parameter.equal(start.parameters.at(name))) << name;
  }
  const NamedTensors before = model::trainable(start);
  const NamedTensors after = model::trainable(training.model());
  ASSERT_EQ(after.size(), 2U * 8U);
  for (const auto& [name, tensor] : after) {
    EXPECT_EQ(tensor.scalar_type(), at::kFloat);
    EXPECT_GT(largest(tensor - before.at(name)), 1e-3) << name;
    const std::string group = of_indexer(name) ? "indexer" : "llm";
    EXPECT_TRUE(tensor.equal(training.optimizer(group).states().at(name).master));
  }
}

TEST(ReferenceAdapters, ABaseUnderAdaptersCannotBeTrained) {
  const model::ReferenceModel adapted = bind({adapter_on({"o_proj"})});
  train::TrainingPlan plan = plan_of(adapted);
  plan.groups[1].parameters = {"model.layers.0.self_attn.o_proj.weight"};
  EXPECT_THROW(train::Training(adapted, plan), core::Error);
}

TEST(ReferenceAdapters, EveryStepDrawsItsOwnDropout) {
  const model::ReferenceModel adapted = bind({adapter_on({"o_proj", "wk"}, "default", 0.5)});
  train::TrainingPlan plan = plan_of(adapted);
  for (train::TrainedGroup& group : plan.groups) {
    group.peak_rate = 0.0;
  }
  const double kept = train::Training(adapted, plan).step({short_inputs()}).loss;
  plan.dropout_seed = 9;
  train::Training training(adapted, plan);
  const double first = training.step({short_inputs()}).loss;
  const double second = training.step({short_inputs()}).loss;
  const auto loss_of = [&](std::int64_t step) {
    return train::objective(
               adapted, short_inputs(),
               {.dropout = tensors::DropoutDraw{.seed = 9, .step = step, .micro_batch = 0}}, kJoint)
        .loss.item<double>();
  };
  EXPECT_NEAR(first, loss_of(0), 1e-12);
  EXPECT_NEAR(second, loss_of(1), 1e-12);
  EXPECT_GT(std::abs(first - kept), 1e-4);
  EXPECT_GT(std::abs(first - second), 1e-4);
  // Two micro-batches of one step differ too.
  train::Training twice(adapted, plan);
  const double both = twice.step({short_inputs(), short_inputs()}).loss;
  EXPECT_GT(std::abs(both - first), 1e-4);
}

}  // namespace
}  // namespace sparity::selftest
