// Token files, the order of rows, options, and what a step computes, without the command.

#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "src/tensors/checkpoint.h"
#include "src/train/finite.h"
#include "src/train/frozen.h"
#include "src/train/token_data.h"
#include "src/train/trainer.h"
#include "suites/cases/model_source.h"
#include "suites/selftest/scratch_folder.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>
#include <string>
#include <vector>

namespace sparity::train {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using Rows = std::vector<std::int64_t>;

constexpr core::TokenLimits kLimits{.vocab_size = 10, .max_tokens = 4, .wants_labels = true};

/// What reading these lines of JSON is refused with; "accepted" when it isn't.
std::string refusal_of(const std::string& lines, const core::TokenLimits& limits = kLimits) {
  const selftest::ScratchFolder folder;
  const fs::path path = folder.path() / "tokens.jsonl";
  std::ofstream(path) << lines;
  try {
    read_token_data(path, limits);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    EXPECT_THAT(error.what(), HasSubstr("tokens.jsonl"));
    return error.what();
  }
  return "accepted";
}

TEST(TokenData, BadLinesAreNamed) {
  EXPECT_THAT(refusal_of(""), HasSubstr("expected at least one row of tokens, found none"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2]}\n{\"input_ids\": [1, 10]}\n"),
              HasSubstr("line 2: 'input_ids'[1]: expected an id from 0 to 9"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, -1]}"), HasSubstr("found -1"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2.5]}"), HasSubstr("/input_ids/1: expected an int"));
  EXPECT_THAT(refusal_of("{\"input_ids\": []}"), HasSubstr("expected a token, found none"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2, 3, 4, 5]}"), HasSubstr("at most 4 tokens"));
  EXPECT_THAT(refusal_of("{\"tokens\": [1, 2]}"), HasSubstr("/tokens: expected input_ids"));
  EXPECT_THAT(refusal_of("{\"loss_mask\": [1, 1]}"), HasSubstr("/input_ids: expected an array"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"loss_mask\": [1]}"),
              HasSubstr("'loss_mask': expected 2 values, found 1"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"loss_mask\": [1, 2]}"),
              HasSubstr("'loss_mask'[1]: expected 0 or 1, found 2"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"labels\": [1, 12]}"),
              HasSubstr("'labels'[1]: expected -100 or an id"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"labels\": [1, 2], \"loss_mask\": [1, 1]}"),
              HasSubstr("found both"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2]}\n\n{\"input_ids\": [1, 2]}\n"),
              HasSubstr("tokens.jsonl: line 2: expected an object, found a blank line"));
  EXPECT_THAT(refusal_of(" \r\n"), HasSubstr("line 1: expected an object, found a blank line"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2, 3, 4, 5]}", {10, 4, true, "this helps"}),
              HasSubstr("at most 4 tokens; this helps, found 5"));
}

TEST(TokenData, AMaskOfJsonIsOfNumbersOrOfBooleans) {
  const selftest::ScratchFolder folder;
  const fs::path path = folder.path() / "tokens.jsonl";
  std::ofstream(path) << "{\"input_ids\": [1, 2, 3], \"loss_mask\": [true, false, true]}\n"
                      << "{\"input_ids\": [1, 2, 3], \"loss_mask\": [1, 0, 1]}\n";
  const TokenData data = read_token_data(path, kLimits);
  for (const core::TokenRow& row : data.rows) {
    EXPECT_THAT(row.labels, ElementsAre(1, core::kIgnoredLabel, 3));
  }
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"loss_mask\": [true, 1]}"),
              HasSubstr("/loss_mask/1: expected false or true, as before it, found 1"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"loss_mask\": [1, true]}"),
              HasSubstr("/loss_mask/1: expected an integer, found true"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"labels\": [true, true]}"),
              HasSubstr("/labels/0: expected an integer, found true"));
}

TEST(TokenData, ARowWithoutALabelIsRefusedWhereOneIsWanted) {
  // The first token's label has no position that would predict it.
  const std::string line = "{\"input_ids\": [1, 2, 3], \"loss_mask\": [1, 0, 0]}\n";
  EXPECT_THAT(refusal_of(line), HasSubstr("line 1: expected a label that counts"));
  EXPECT_EQ(refusal_of(line, {10, 4, false}), "accepted");
}

/// What reading a file of `input_ids` [2, 2] and this tensor is refused with.
std::string refusal_beside(const std::string& name, const Rows& values,
                           const std::vector<std::int64_t>& shape) {
  const selftest::ScratchFolder folder;
  const fs::path path = folder.path() / "tokens.safetensors";
  const Rows ids = {1, 2, 3, 4};
  core::write_safetensors(path,
                          {{"input_ids", core::Dtype::kI64, {2, 2}, std::as_bytes(std::span(ids))},
                           {name, core::Dtype::kI64, shape, std::as_bytes(std::span(values))}});
  try {
    read_token_data(path, kLimits);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    return error.what();
  }
  return "accepted";
}

TEST(TokenData, BadTensorsAreNamed) {
  EXPECT_EQ(refusal_beside("attention_mask", {1, 1, 1, 1}, {2, 2}), "accepted");
  EXPECT_THAT(refusal_beside("attention_mask", {1, 1, 0, 1}, {2, 2}),
              HasSubstr("row 1: 'attention_mask': expected ones, then zeros"));
  EXPECT_THAT(refusal_beside("attention_mask", {1, 1, 1, 2}, {2, 2}), HasSubstr("row 1"));
  EXPECT_THAT(refusal_beside("attention_mask", {1, 1, 0, 0}, {2, 2}),
              HasSubstr("row 1: 'input_ids': expected a token, found none"));
  EXPECT_THAT(refusal_beside("labels", {1, 2, 3, 10}, {2, 2}), HasSubstr("row 1: 'labels'[1]"));
  EXPECT_THAT(refusal_beside("labels", {1, 2, 3, 4}, {4, 1}),
              HasSubstr("'labels': expected shape [2, 2], found [4, 1]"));
  EXPECT_THAT(refusal_beside("position_ids", {0, 1, 0, 1}, {2, 2}),
              HasSubstr("unknown tensor \"position_ids\""));
}

TEST(TokenData, BothFormsReadAlike) {
  const selftest::ScratchFolder folder;
  std::ofstream(folder.path() / "a.jsonl")
      << "{\"input_ids\": [1, 2, 3], \"loss_mask\": [1, 1, 0]}\n{\"input_ids\": [4, 5]}\n";
  const Rows ids = {1, 2, 3, 4, 5, 0};
  const Rows loss = {1, 1, 0, 1, 1, 1};
  const Rows tokens = {1, 1, 1, 1, 1, 0};
  const std::vector<std::int64_t> shape = {2, 3};
  core::write_safetensors(
      folder.path() / "a.safetensors",
      {{"input_ids", core::Dtype::kI64, shape, std::as_bytes(std::span(ids))},
       {"loss_mask", core::Dtype::kI64, shape, std::as_bytes(std::span(loss))},
       {"attention_mask", core::Dtype::kI64, shape, std::as_bytes(std::span(tokens))}});
  for (const char* name : {"a.jsonl", "a.safetensors"}) {
    const TokenData data = read_token_data(folder.path() / name, kLimits);
    ASSERT_EQ(data.size(), 2) << name;
    EXPECT_THAT(data.rows[0].labels, ElementsAre(1, 2, -100)) << name;
    EXPECT_THAT(data.rows[1].input_ids, ElementsAre(4, 5)) << name;
    const tensors::Inputs batch = batch_of(data, {1, 0});
    EXPECT_EQ(batch.input_ids.sizes(), (at::IntArrayRef{2, 3}));
    EXPECT_EQ(BatchCounts::of(batch).tokens, 5);
    EXPECT_EQ(BatchCounts::of(batch).labels, 2);
  }
}

TEST(RowOrder, EveryEpochIsAPermutationOfItsOwn) {
  RowOrder order(7, 11);
  const Rows first = order.take(0, 11);
  const Rows second = order.take(11, 11);
  EXPECT_NE(first, second);
  for (Rows epoch : {first, second}) {
    std::ranges::sort(epoch);
    Rows all(11);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(epoch, all);
  }
  Rows across(first.begin() + 8, first.end());
  across.insert(across.end(), second.begin(), second.begin() + 3);
  EXPECT_EQ(RowOrder(7, 11).take(8, 6), across);  // from nowhere, as a resumed run asks
  EXPECT_NE(RowOrder(8, 11).take(0, 11), first);
}

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
