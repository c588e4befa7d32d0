// Options, and what a step computes, without the command.

#include "src/core/error.h"
#include "src/tensors/checkpoint.h"
#include "src/train/finite.h"
#include "src/train/frozen.h"
#include "src/train/token_data.h"
#include "src/train/trainer.h"
#include "suites/cases/model_source.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace sparity::train {
namespace {

using testing::HasSubstr;
using Rows = std::vector<std::int64_t>;

TEST(TrainOptions, JsonIsReadStrictlyAndWrittenCompletely) {
  TrainOptions options = defaults_of(Stage::kJoint);
  apply({{"stage", "joint"}, {"lr", 0.5}, {"steps", 7}, {"kl_detach", "q_only"}}, "c", options);
  EXPECT_EQ(options.adamw.learning_rate, 0.5);
  EXPECT_EQ(options.kl.detach, core::KlDetach::kQOnly);
  TrainOptions again = defaults_of(Stage::kJoint);
  apply(to_json(options), "c", again);
  EXPECT_EQ(to_json(again), to_json(options));
  const auto refused = [](Stage stage, const nlohmann::json& object) -> std::string {
    TrainOptions own = defaults_of(stage);
    try {
      apply(object, "c", own);
    } catch (const core::Error& error) {
      EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refused(Stage::kSparse, {{"learning_rate", 1}}), HasSubstr("c: /learning_rate"));
  EXPECT_THAT(refused(Stage::kSparse, {{"steps", 0}}), HasSubstr("/steps: expected an integer"));
  EXPECT_THAT(refused(Stage::kSparse, {{"kl_detach", "none"}}), HasSubstr("but in stage joint"));
  EXPECT_THAT(refused(Stage::kPretrain, {{"kl_coefficient", 1}}), HasSubstr("no such option"));
  EXPECT_THAT(refused(Stage::kDenseWarmup, {{"bias_update_rate", 1}}), HasSubstr("no such option"));
  EXPECT_THAT(refused(Stage::kSparse, {{"schedule", "linear"}}), HasSubstr("constant, cosine"));
  EXPECT_THAT(refused(Stage::kSparse, {{"stage", "joint"}}), HasSubstr("/stage: expected sparse"));
}

TEST(FrozenBytes, OneChangedElementIsNamed) {
  at::Tensor kept = at::ones({3});
  at::Tensor changed = at::ones({3});
  const FrozenBytes frozen({{"kept", kept}, {"changed", changed}});
  frozen.check();
  changed[1] = 2.0;
  try {
    frozen.check();
    ADD_FAILURE() << "accepted";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kHarnessFault);
    EXPECT_STREQ(error.what(), "frozen parameters have changed: changed");
  }
}

core::ModelConfig tiny() { return cases::read_config(cases::ModelSource()).config; }

/// Four rows of 9, 20, 14 and 31 tokens; every fifth label is off.
TokenData uneven_rows(const core::ModelConfig& config) {
  TokenData data;
  for (const std::int64_t length : {9, 20, 14, 31}) {
    core::TokenRow row;
    for (std::int64_t i = 0; i < length; ++i) {
      row.input_ids.push_back((i * i + 7 * length) % config.vocab_size);
      row.labels.push_back(i % 5 == 4 ? -100 : row.input_ids.back());
    }
    data.rows.push_back(std::move(row));
  }
  return data;
}

/// Parameters after one step in float64 over the rows in these micro-batches.
std::map<std::string, at::Tensor> after_step(const TrainOptions& options,
                                             const std::vector<Rows>& micro_batches,
                                             StepReport* report = nullptr) {
  const core::ModelConfig config = tiny();
  const TokenData data = uneven_rows(config);
  Trainer trainer(tensors::seeded_checkpoint(config, 3), options);
  std::vector<tensors::Inputs> batches;
  for (const Rows& rows : micro_batches) {
    batches.push_back(batch_of(data, rows));
  }
  const StepReport done = trainer.step(batches);
  if (report != nullptr) {
    *report = done;
  }
  return trainer.checkpoint().weights.tensors();
}

TrainOptions joint_in(core::Dtype dtype) {
  TrainOptions options = defaults_of(Stage::kJoint);
  options.dtype = dtype;
  options.balance.coefficient = 0.1;
  options.bias_update_rate = 0.01;
  // Far above the gradients' rounding errors, where AdamW's first step is no mere sign.
  options.adamw.eps = 1e-2;
  settle(options);
  return options;
}

TEST(Trainer, UnequalMicroBatchesAddUpToOneBatch) {
  for (const core::KlReduction reduction :
       {core::KlReduction::kMeanRowsLayers, core::KlReduction::kNumItems, core::KlReduction::kSum,
        core::KlReduction::kLayerSumOfRowMeans}) {
    TrainOptions options = joint_in(core::Dtype::kF64);
    options.kl.reduction = reduction;
    StepReport whole;
    StepReport parts;
    const auto one = after_step(options, {{0, 1, 2, 3}}, &whole);
    const auto several = after_step(options, {{0}, {1, 2}, {3}}, &parts);
    EXPECT_NEAR(parts.loss.total, whole.loss.total, 1e-12 * whole.loss.total);
    EXPECT_EQ(parts.labels, whole.labels);
    double farthest = 0;
    for (const auto& [name, tensor] : one) {
      farthest = std::max(farthest, several.at(name).sub(tensor).abs().max().item().toDouble());
    }
    EXPECT_LT(farthest, 1e-12) << core::word_of(reduction);
  }
}

TEST(Trainer, RecomputedLayersChangeNoBit) {
  TrainOptions warmup = defaults_of(Stage::kDenseWarmup);
  settle(warmup);
  for (TrainOptions options : {joint_in(core::Dtype::kF32), joint_in(core::Dtype::kBF16), warmup}) {
    const auto kept = after_step(options, {{0, 1}, {2, 3}});
    options.recompute_layers = true;
    const auto again = after_step(options, {{0, 1}, {2, 3}});
    for (const auto& [name, tensor] : kept) {
      EXPECT_TRUE(at::equal(again.at(name), tensor)) << name;
    }
  }
}

TEST(Trainer, NormsByGroupClipEachItself) {
  TrainOptions options = joint_in(core::Dtype::kF32);
  options.clip = 1e-3;
  StepReport report;
  const auto all = after_step(options, {{0, 1, 2, 3}}, &report);
  EXPECT_GT(report.group_norms.at("model"), 0);
  EXPECT_GT(report.group_norms.at("indexer"), 0);
  options.clip_scope = ClipScope::kGroup;
  const auto each = after_step(options, {{0, 1, 2, 3}});
  const std::string indexer = "model.layers.0.self_attn.indexer.wk.weight";
  EXPECT_FALSE(at::equal(all.at(indexer), each.at(indexer)));
}

TEST(Trainer, FrozenParametersTakeNoGradientAndAreInNoOptimizer) {
  const core::ModelConfig config = tiny();
  TrainOptions options = defaults_of(Stage::kFrozenIndexerSft);
  settle(options);
  const Trainer trainer(tensors::seeded_checkpoint(config, 3), options);
  ASSERT_EQ(trainer.groups().size(), 1U);
  const core::TensorManifest manifest(config);
  for (const core::ParameterSpec& parameter : manifest.parameters()) {
    const bool trained = trains(options.stage, parameter.role);
    EXPECT_EQ(trainer.groups()[0].optimizer.parameters().contains(parameter.name), trained);
    EXPECT_EQ(trainer.weights().at(parameter.name).requires_grad(), trained) << parameter.name;
  }
}

TEST(Trainer, RoutersBiasesMoveTowardsEqualLoad) {
  const core::ModelConfig config = tiny();
  const std::string name = "model.layers.1.mlp.gate.e_score_correction_bias";
  const at::Tensor before = tensors::seeded_checkpoint(config, 3).weights.at(name);
  TrainOptions options = joint_in(core::Dtype::kF32);
  options.balance.coefficient = 0;  // load is counted without the loss too
  const at::Tensor after = after_step(options, {{0, 1}, {2, 3}}).at(name);
  const at::Tensor moved = after.sub(before).abs();
  EXPECT_LE(moved.max().item().toDouble(), 0.01 + 1e-6);
  EXPECT_GT(moved.max().item().toDouble(), 0.01 - 1e-6);
}

TEST(FirstNotFinite, IsFoundWhereverItStandsInEveryDtype) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    // Longer than a block, and no whole number of them.
    at::Tensor tensor = at::ones({37, 1001}, type);
    tensor[0][0] = type == at::kDouble ? 1e308 : 6e4;  // large, and finite
    tensor[36][1000] = -0.0;
    EXPECT_EQ(first_not_finite(tensor), "");
    tensor[36][1000] = -std::numeric_limits<double>::infinity();
    EXPECT_EQ(first_not_finite(tensor), "-inf at [36, 1000]");
    tensor[17][3] = std::numeric_limits<double>::quiet_NaN();
    EXPECT_EQ(first_not_finite(tensor), "nan at [17, 3]");
    EXPECT_EQ(first_not_finite(tensor.t()), "nan at [3, 17]");
  }
  EXPECT_EQ(first_not_finite(at::ones({0, 3})), "");
  EXPECT_EQ(first_not_finite(at::ones({})), "");
}

TEST(Trainer, ALossThatIsNotFiniteChangesNothing) {
  const core::ModelConfig config = tiny();
  tensors::Checkpoint checkpoint = tensors::seeded_checkpoint(config, 3);
  const at::Tensor head = checkpoint.weights.at("lm_head.weight");
  head[0][0] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor watched = checkpoint.weights.at("model.norm.weight").clone();
  TrainOptions options = defaults_of(Stage::kSparse);
  settle(options);
  Trainer trainer(std::move(checkpoint), options);
  const TokenData data = uneven_rows(config);
  try {
    trainer.step({batch_of(data, {0, 1})});
    ADD_FAILURE() << "accepted";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kCrashed);
    EXPECT_THAT(error.what(), HasSubstr("step 1: expected a finite loss, found nan"));
  }
  EXPECT_EQ(trainer.steps_done(), 0);
  EXPECT_TRUE(at::equal(trainer.weights().at("model.norm.weight").detach(), watched));
  try {
    trainer.validate({batch_of(data, {0, 1})});
    ADD_FAILURE() << "accepted";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kCrashed);
    EXPECT_THAT(error.what(), HasSubstr("step 0: expected a finite validation loss, found nan"));
  }
}

}  // namespace
}  // namespace sparity::train
