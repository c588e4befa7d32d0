// The reference's training objective on the tiny model in float64: who receives a gradient, whether
// it is the derivative, and how losses of parts make up that of the whole.

#include "reference/model/assemble.h"
#include "reference/model/gradients.h"
#include "reference/model/mask.h"
#include "reference/scalar/linear.h"
#include "reference/train/objective.h"
#include "src/core/error.h"
#include "src/tensors/checkpoint.h"
#include "src/tensors/recorder.h"
#include "suites/selftest/tensor_values.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace sparity::selftest {
namespace {

namespace model = reference::model;
namespace scalar = reference::scalar;
namespace train = reference::train;
using core::KlDetach;
using core::KlOptions;
using core::KlReduction;
using train::Objective;
using train::ObjectiveOptions;

constexpr std::int64_t kTokens = 17;  // above index_topk: 12
const std::string kLast = "model.layers.3.";

model::ReferenceModel tiny_model(std::int64_t index_topk = 12) {
  core::ModelConfig config =
      core::read_model_config(SPARITY_SOURCE_DIR "/fixtures/configs/tiny.json").config;
  config.index_topk = index_topk;
  return model::ReferenceModel::bind(
      tensors::seeded_checkpoint(config, 5, core::Dtype::kF64).weights, config, at::kDouble,
      core::Recipe::kOfficial);
}

const model::ReferenceModel& tiny() {
  static const model::ReferenceModel kModel = tiny_model();
  return kModel;
}

const tensors::Inputs& inputs() {  // 17 and 11 tokens
  static const tensors::Inputs kInputs = tensors::seeded_inputs(tiny().config, 6, kTokens);
  return kInputs;
}

/// One row of the inputs as a batch of its own.
tensors::Inputs row_of(std::int64_t row, std::int64_t tokens) {
  tensors::Inputs one;
  const auto cut = [&](const at::Tensor& all) {
    return all.narrow(0, row, 1).narrow(1, 0, tokens);
  };
  one.input_ids = cut(inputs().input_ids);
  one.token_mask = cut(inputs().token_mask);
  one.position_ids = cut(inputs().position_ids);
  one.labels = cut(inputs().labels);
  return one;
}

Objective run(const ObjectiveOptions& options, const tensors::Inputs& of = inputs(),
              const model::ForwardOptions& forward = {}, const tensors::Probe& probe = {}) {
  return train::objective(tiny(), of, forward, options, probe);
}

ObjectiveOptions kl_only(const KlOptions& kl = {}) { return {.lm = false, .kl = kl}; }

bool is_indexer(const std::string& name) { return name.find(".indexer.") != std::string::npos; }

std::set<std::string> names_of(const Objective& objective) {
  std::set<std::string> names;
  for (const auto& [name, gradient] : objective.gradients) {
    names.insert(name);
  }
  return names;
}

/// |a − b| ≤ 1e-12 · the largest of b, name by name, over equal sets of names.
void expect_equal_gradients(const std::map<std::string, at::Tensor>& a,
                            const std::map<std::string, at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, gradient] : b) {
    ASSERT_TRUE(a.contains(name)) << name;
    EXPECT_LE((a.at(name) - gradient).abs().max().item<double>(),
              1e-12 * std::max(gradient.abs().max().item<double>(), 1e-3))
        << name;
  }
}

// --- what arrives where -------------------------------------------------------------------------

TEST(ReferenceTrainObjective, LmAloneIsTheModelsLmGradientBitForBit) {
  const Objective objective = run({});
  const model::Gradients expected = model::lm_gradients(tiny(), inputs());
  EXPECT_TRUE(objective.logits.equal(expected.logits));
  EXPECT_TRUE(objective.loss.equal(expected.loss.loss));
  EXPECT_EQ(objective.labels_counted, expected.loss.counted);
  ASSERT_EQ(objective.gradients.size(), expected.parameters.size());
  for (const auto& [name, gradient] : expected.parameters) {
    EXPECT_TRUE(objective.gradients.at(name).equal(gradient)) << name;
    EXPECT_FALSE(is_indexer(name));
  }
  EXPECT_FALSE(objective.kl_loss.defined());
  EXPECT_FALSE(objective.balance_loss.defined());
}

TEST(ReferenceTrainObjective, RecordingLeavesTheForwardPassBitForBit) {
  for (const auto attention : {core::AttentionMode::kSparse, core::AttentionMode::kDense}) {
    const model::ForwardOptions options = {.attention = attention};
    EXPECT_TRUE(
        run(kl_only(), inputs(), options).logits.equal(model::forward(tiny(), inputs(), options)));
  }
}

TEST(ReferenceTrainObjective, KlWithBothInputsDetachedReachesTheIndexersAlone) {
  for (const auto attention : {core::AttentionMode::kSparse, core::AttentionMode::kDense}) {
    const Objective objective = run(kl_only(), inputs(), {.attention = attention});
    EXPECT_EQ(objective.gradients.size(), 4U * 5U);
    for (const auto& [name, gradient] : objective.gradients) {
      EXPECT_TRUE(is_indexer(name)) << name;
      EXPECT_GT(gradient.abs().max().item<double>(), 0.0) << name;
    }
  }
}

TEST(ReferenceTrainObjective, KlLeaksThroughWhatIsNotDetached) {
  const std::set<std::string> q_only = names_of(run(kl_only({.detach = KlDetach::kQOnly})));
  const std::set<std::string> none = names_of(run(kl_only({.detach = KlDetach::kNone})));
  // Through the hidden state both reach the last layer's norm and everything below.
  for (const auto& names : {q_only, none}) {
    EXPECT_TRUE(names.contains(kLast + "input_layernorm.weight"));
    EXPECT_TRUE(names.contains("model.layers.2.self_attn.q_a_proj.weight"));
    EXPECT_TRUE(names.contains("model.layers.2.mlp.experts.0.up_proj.weight"));
    EXPECT_TRUE(names.contains("model.embed_tokens.weight"));
    EXPECT_TRUE(names.contains(kLast + "self_attn.indexer.wq_b.weight"));
  }
  // Only through the query latent is there a way to the last layer's query projection.
  std::set<std::string> difference;
  std::ranges::set_difference(none, q_only, std::inserter(difference, difference.end()));
  EXPECT_EQ(difference, (std::set<std::string>{kLast + "self_attn.q_a_proj.weight",
                                               kLast + "self_attn.q_a_layernorm.weight"}));
  // The target is detached: nothing reaches the last layer's attention, experts or the head.
  for (const std::string& name : none) {
    const bool beyond = name.starts_with(kLast) && !is_indexer(name) &&
                        !difference.contains(name) && name != kLast + "input_layernorm.weight";
    EXPECT_FALSE(beyond || name == "lm_head.weight" || name == "model.norm.weight") << name;
  }
}

TEST(ReferenceTrainObjective, JointGradientsAreTheWeightedSumOfBoth) {
  const KlOptions kl = {.detach = KlDetach::kNone, .coefficient = 0.375};
  const Objective joint = run({.kl = kl, .balance = {.coefficient = 0.5}});
  const Objective lm = run({});
  const Objective kl_alone = run(kl_only(kl));
  const Objective balance = run({.lm = false, .balance = {.coefficient = 0.5}});
  std::map<std::string, at::Tensor> sum = lm.gradients;
  for (const Objective* part : {&kl_alone, &balance}) {
    for (const auto& [name, gradient] : part->gradients) {
      sum[name] = sum.contains(name) ? sum.at(name) + gradient : gradient;
    }
  }
  expect_equal_gradients(joint.gradients, sum);
  // kl_loss has no coefficient in it; what the KL run differentiates has.
  expect_close(kl_alone.loss, doubles_of(kl_alone.kl_loss * 0.375));
  expect_close(joint.loss, doubles_of(lm.lm_loss + kl_alone.kl_loss * 0.375 + balance.loss));
  EXPECT_FALSE(std::ranges::any_of(balance.gradients, [](const auto& entry) {
    return is_indexer(entry.first) || entry.first == "lm_head.weight";
  }));
  EXPECT_TRUE(balance.gradients.contains(kLast + "mlp.gate.weight"));
  EXPECT_FALSE(balance.gradients.contains(kLast + "mlp.experts.0.up_proj.weight"));
}

// --- derivatives --------------------------------------------------------------------------------

/// ∂loss/∂(direction of one parameter) by central differences, all selections as they were.
class Differences {
 public:
  Differences(const ObjectiveOptions& options, const model::ForwardOptions& forward)
      : options_(options), forward_(forward) {
    tensors::Recorder recorder({"*topk_indices"});
    gradients_ = run(options, inputs(), forward, tensors::Probe(&recorder)).gradients;
    selections_ = recorder.captured();
  }

  void expect_derivative(const std::string& name, unsigned seed) const {
    const at::Tensor start = tiny().parameters.at(name);
    const at::Tensor direction = random_tensor(start.sizes(), seed);
    constexpr double kStep = 1e-6;
    const double difference =
        (loss_at(name, start + direction * kStep) - loss_at(name, start - direction * kStep)) /
        (2 * kStep);
    ASSERT_TRUE(gradients_.contains(name)) << name;
    const double derivative = (gradients_.at(name) * direction).sum().item<double>();
    EXPECT_GT(std::abs(derivative), 1e-7) << name;
    EXPECT_NEAR(difference, derivative, 1e-5 * std::abs(derivative) + 1e-9) << name;
  }

 private:
  double loss_at(const std::string& name, const at::Tensor& value) const {
    std::map<std::string, at::Tensor> parameters = tiny().parameters;
    parameters[name] = value;
    tensors::Recorder recorder;
    for (const auto& [selection, indices] : selections_) {
      recorder.force(selection, indices);
    }
    return train::objective(model::with_parameters(tiny(), parameters), inputs(), forward_,
                            options_, tensors::Probe(&recorder))
        .loss.item<double>();
  }

  ObjectiveOptions options_;
  model::ForwardOptions forward_;
  std::map<std::string, at::Tensor> gradients_;
  std::map<std::string, at::Tensor> selections_;
};

TEST(ReferenceTrainObjective, IndexerGradientsAreTheDerivativesOfTheKlLoss) {
  const KlOptions far = {.target = core::KlTarget::kRestricted,
                         .support = core::KlSupport::kValid,
                         .reduction = KlReduction::kLayerSumOfRowMeans,
                         .guard = core::KlGuard::kAddToBoth,
                         .coefficient = 1.5};
  for (const KlOptions& kl : {KlOptions{}, far}) {
    for (const auto attention : {core::AttentionMode::kSparse, core::AttentionMode::kDense}) {
      const Differences differences(kl_only(kl), {.attention = attention});
      for (const char* part :
           {"wq_b.weight", "wk.weight", "k_norm.weight", "k_norm.bias", "weights_proj.weight"}) {
        differences.expect_derivative("model.layers.1.self_attn.indexer." + std::string(part), 30);
      }
    }
  }
}

TEST(ReferenceTrainObjective, BalanceGradientsAreDerivativesOfTheWholeObjective) {
  using core::BalanceRouting;
  for (const BalanceRouting routing : {BalanceRouting::kUnbiased, BalanceRouting::kActual}) {
    const Differences differences(
        {.lm = false, .balance = {.routing = routing, .coefficient = 1.0}}, {});
    differences.expect_derivative("model.layers.2.mlp.gate.weight", 31);
    differences.expect_derivative("model.layers.1.self_attn.o_proj.weight", 32);
  }
}

// --- parts and wholes ---------------------------------------------------------------------------

TEST(ReferenceTrainObjective, MicroBatchesAddUpToTheirBatch) {
  ObjectiveOptions options = {.kl = KlOptions{.reduction = KlReduction::kNumItems}};
  options.lm_items = 16 + 10;
  options.kl_items = 17 + 11;
  const Objective first = run(options, row_of(0, kTokens));
  const Objective second = run(options, row_of(1, 11));
  ObjectiveOptions whole = {.kl = KlOptions{}};  // means over labels and over rows
  const Objective batch = run(whole);
  EXPECT_EQ(first.kl_rows + second.kl_rows, batch.kl_rows);
  EXPECT_EQ(first.labels_counted + second.labels_counted, batch.labels_counted);
  expect_close(first.loss + second.loss, doubles_of(batch.loss));
  expect_close(first.kl_loss + second.kl_loss, doubles_of(batch.kl_loss));
  std::map<std::string, at::Tensor> sum = first.gradients;
  for (const auto& [name, gradient] : second.gradients) {
    sum[name] = sum.at(name) + gradient;
  }
  expect_equal_gradients(sum, batch.gradients);
}

TEST(ReferenceTrainObjective, ReductionsDivideTheSameSum) {
  const auto loss = [](KlReduction reduction) {
    return run(kl_only({.reduction = reduction})).kl_loss.item<double>();
  };
  const Objective objective = run(kl_only({.reduction = KlReduction::kSum}));
  EXPECT_EQ(objective.kl_rows, 17 + 11);
  EXPECT_EQ(objective.kl_layer_sums.numel(), 4);
  EXPECT_GT(objective.kl_layer_sums.min().item<double>(), 1e-2);
  const double sum = objective.kl_layer_sums.sum().item<double>();
  EXPECT_DOUBLE_EQ(objective.kl_loss.item<double>(), sum);
  EXPECT_DOUBLE_EQ(loss(KlReduction::kMeanRowsLayers), sum / (4 * 28));
  EXPECT_DOUBLE_EQ(loss(KlReduction::kMeanPositionsLayers), sum / (4 * 34));
  EXPECT_DOUBLE_EQ(loss(KlReduction::kLayerSumOfRowMeans), sum / 28);
  EXPECT_THROW(loss(KlReduction::kNumItems), core::Error);
}

TEST(ReferenceTrainObjective, SparseIsDenseWhenEveryKeyFits) {
  const model::ReferenceModel wide = tiny_model(kTokens);
  const auto value = [&](core::AttentionMode attention, core::KlTarget target) {
    return train::objective(wide, inputs(), {.attention = attention}, kl_only({.target = target}));
  };
  const Objective dense = value(core::AttentionMode::kDense, core::KlTarget::kSelected);
  for (const auto& [target, word] : core::option_words<core::KlTarget>()) {
    const Objective sparse = value(core::AttentionMode::kSparse, target);
    expect_close(sparse.kl_layer_sums, doubles_of(dense.kl_layer_sums));
    expect_equal_gradients(sparse.gradients, dense.gradients);
  }
  const Objective narrow = run(kl_only());
  EXPECT_GT((narrow.kl_layer_sums - dense.kl_layer_sums).abs().min().item<double>(), 1e-3);
}

TEST(ReferenceTrainObjective, TargetIsShownAndReplacedWhereTheProbeWantsIt) {
  const std::string name = "layers.2.self_attn.indexer.kl_target";
  tensors::Recorder idle;
  run(kl_only(), inputs(), {}, tensors::Probe(&idle));
  EXPECT_FALSE(std::ranges::count(idle.order(), name));
  tensors::Recorder recorder({name, "layers.2.self_attn.indexer.topk_indices"});
  const Objective plain = run(kl_only(), inputs(), {}, tensors::Probe(&recorder));
  const at::Tensor target = recorder.captured().at(name);
  EXPECT_EQ(target.sizes(), (std::vector<std::int64_t>{2, kTokens, kTokens}));
  expect_close(target.sum(-1), doubles_of(inputs().token_mask.to(at::kDouble)));
  const at::Tensor selected =
      model::support(recorder.captured().at("layers.2.self_attn.indexer.topk_indices"), kTokens);
  EXPECT_EQ(target.masked_select(selected.logical_not()).abs().max().item<double>(), 0.0);
  tensors::Recorder forcing;
  forcing.force(name, at::zeros_like(target));
  const Objective forced = run(kl_only(), inputs(), {}, tensors::Probe(&forcing));
  EXPECT_EQ(forced.kl_layer_sums[2].item<double>(), 0.0);
  EXPECT_TRUE(forced.kl_layer_sums[1].equal(plain.kl_layer_sums[1]));
}

TEST(ReferenceTrainObjective, TargetIsTheMeanOfTheLayersOwnHeads) {
  tensors::Recorder recorder({"layers.2.self_attn.*"});
  run(kl_only(), inputs(), {}, tensors::Probe(&recorder));
  const auto row = [&](const char* name, std::int64_t s) {
    return recorder.captured().at("layers.2.self_attn." + std::string(name))[0][s];
  };
  const core::ModelConfig& config = tiny().config;
  const std::int64_t heads = config.num_attention_heads;
  const at::Tensor kv_b_proj = tiny()
                                   .parameters.at("model.layers.2.self_attn.kv_b_proj.weight")
                                   .unflatten(0, {heads, -1})
                                   .narrow(1, 0, config.qk_nope_head_dim);
  constexpr std::int64_t kQuery = kTokens - 1;
  Doubles target(kTokens, 0.0);
  for (const std::int64_t key : integers_of(row("indexer.topk_indices", kQuery))) {
    for (std::int64_t head = 0; head < heads; ++head) {
      Doubles k =
          scalar::linear(doubles_of(kv_b_proj[head]), doubles_of(row("kv_a_layernorm", key)));
      append(k, doubles_of(row("k_rot", key)));
      const double z =
          model::softmax_scale(config) * scalar::dot(doubles_of(row("q", kQuery)[head]), k);
      target[static_cast<std::size_t>(key)] +=
          std::exp(z - row("lse", kQuery)[head].item<double>()) / static_cast<double>(heads);
    }
  }
  expect_close(row("indexer.kl_target", kQuery), target);
}

TEST(ReferenceTrainObjective, LoadsCountTheChoicesOfTokens) {
  tensors::Recorder recorder({"layers.3.mlp.gate.topk_indices"});
  const Objective objective = run({}, inputs(), {}, tensors::Probe(&recorder));
  const Integers chosen = integers_of(recorder.captured().begin()->second);
  Integers load(12, 0);
  for (std::size_t slot = 0; slot < chosen.size(); ++slot) {
    const std::size_t token = slot / 3;
    if (token < 17 + 11) {  // the second row's padding comes last
      ++load[static_cast<std::size_t>(chosen[slot])];
    }
  }
  EXPECT_EQ(objective.expert_loads.size(), 3U);
  EXPECT_EQ(integers_of(objective.expert_loads.at(kLast + "mlp.gate.e_score_correction_bias")),
            load);
}

TEST(ReferenceTrainObjective, RefusesWhatHasNoLoss) {
  EXPECT_THROW(run({.lm = false}), core::Error);
  tensors::Inputs padded = inputs();
  padded.token_mask = at::zeros_like(padded.token_mask);
  EXPECT_THROW(run(kl_only(), padded), core::Error);
  EXPECT_THROW(run({}, padded), core::Error);
  // Of a larger batch, a part without labels adds nothing.
  tensors::Inputs unlabelled = inputs();
  unlabelled.labels = at::ones({2, kTokens}, at::kLong) * -100;
  EXPECT_THROW(run({}, unlabelled), core::Error);
  EXPECT_EQ(run({.lm_items = 9}, unlabelled).loss.item<double>(), 0.0);
}

}  // namespace
}  // namespace sparity::selftest
