#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "src/tensors/at_dtype.h"
#include "src/tensors/checkpoint.h"
#include "src/tensors/inputs.h"
#include "src/tensors/recorder.h"
#include "suites/selftest/scratch_folder.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

namespace sparity::tensors {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

core::ModelConfig small_config() {
  core::ModelConfig config;
  config.vocab_size = 19;
  config.hidden_size = 12;
  config.intermediate_size = 20;
  config.moe_intermediate_size = 6;
  config.num_hidden_layers = 2;
  config.num_attention_heads = config.num_key_value_heads = 3;
  config.n_routed_experts = 4;
  config.num_experts_per_tok = 2;
  config.n_group = 2;
  config.topk_group = 1;
  config.q_lora_rank = 10;
  config.kv_lora_rank = 8;
  config.qk_nope_head_dim = 6;
  config.qk_rope_head_dim = 4;
  config.v_head_dim = 5;
  config.index_n_heads = 2;
  config.index_head_dim = 8;
  config.index_topk = 3;
  config.max_position_embeddings = 64;
  config.mlp_layer_types = {core::MlpType::kDense, core::MlpType::kSparse};
  return config;
}

/// The message of the input error that `action` throws; fails when it throws none.
template <typename Action>
std::string input_error(Action action) {
  try {
    action();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

Inputs two_rows() {
  Inputs inputs;
  inputs.input_ids = at::zeros({2, 3}, at::kLong);
  inputs.token_mask = at::ones({2, 3}, at::kBool);
  inputs.position_ids = at::arange(3, at::kLong).expand({2, 3}).contiguous();
  return inputs;
}

TEST(Recorder, CapturesWhatAGlobMatchesInOrder) {
  Recorder recorder({"layers.*.q"});
  const Probe probe = Probe(&recorder).layer(3);
  probe("q", at::ones({2}));
  probe("k", at::zeros({2}));
  EXPECT_THAT(recorder.order(), ElementsAre("layers.3.q", "layers.3.k"));
  EXPECT_EQ(recorder.captured().size(), 1U);
  EXPECT_TRUE(recorder.captured().at("layers.3.q").equal(at::ones({2})));
}

TEST(Recorder, KeepsACopyThatLaterWritesDoNotReach) {
  Recorder recorder({"*"});
  at::Tensor value = at::ones({2});
  Probe{&recorder}("x", value);
  value.fill_(7);
  EXPECT_TRUE(recorder.captured().at("x").equal(at::ones({2})));
}

TEST(Recorder, AssemblesTiles) {
  Recorder recorder({"scores"});
  const Probe probe(&recorder);
  const at::Tensor whole = at::arange(24, at::kFloat).view({1, 4, 6});
  probe.tile("scores", 4, 0, whole.narrow(1, 0, 3));
  probe.tile("scores", 4, 3, whole.narrow(1, 3, 1));
  EXPECT_TRUE(recorder.captured().at("scores").equal(whole));
  EXPECT_THAT(recorder.order(), ElementsAre("scores"));
}

TEST(Recorder, ForcesValuesAndRefusesOtherShapes) {
  Recorder recorder;
  recorder.force("x", at::full({2}, 5.0));
  recorder.force("y", at::full({3}, 5.0));
  const Probe probe(&recorder);
  EXPECT_TRUE(probe("x", at::zeros({2}, at::kFloat)).equal(at::full({2}, 5.0, at::kFloat)));
  EXPECT_THAT(input_error([&] { probe("y", at::zeros({2})); }),
              HasSubstr("'y': expected shape [2]"));
}

TEST(Recorder, TellsWhatWasNeverSeen) {
  Recorder recorder({"nothing.*", "x"});
  recorder.force("z", at::zeros({1}));
  Probe{&recorder}("x", at::zeros({1}));
  EXPECT_THAT(recorder.unmatched_globs(), ElementsAre("nothing.*"));
  EXPECT_THAT(recorder.unused_forces(), ElementsAre("z"));
}

TEST(AttentionMask, AdditiveAndBoolFormsMeanTheSame) {
  const double lowest = std::numeric_limits<float>::lowest();
  at::Tensor additive = at::zeros({2, 1, 3, 3}, at::kFloat);
  additive.select(3, 1).fill_(lowest);
  additive.select(3, 2).fill_(-std::numeric_limits<double>::infinity());
  Inputs from_additive = two_rows();
  apply_attention_mask(additive, "test", from_additive);
  Inputs from_bool = two_rows();
  apply_attention_mask(additive.eq(0), "test", from_bool);
  EXPECT_TRUE(from_additive.pair_mask.equal(from_bool.pair_mask));
  EXPECT_EQ(from_bool.pair_mask.sum().item().toLong(), 6);
}

TEST(AttentionMask, RefusesValuesThatMeanNothing) {
  Inputs inputs = two_rows();
  EXPECT_THAT(input_error([&] {
                apply_attention_mask(at::full({2, 3, 3}, -1.0), "file", inputs);
              }),
              HasSubstr("file: 'attention_mask'"));
  EXPECT_THAT(input_error([&] {
                apply_attention_mask(at::full({2, 3}, 2, at::kLong), "file", inputs);
              }),
              HasSubstr("expected 0 or 1, found 2"));
}

TEST(Inputs, SurviveAFile) {
  const selftest::ScratchFolder folder;
  const Inputs written = seeded_inputs(small_config(), 5, 20);
  write_inputs(written, folder.path() / "in.safetensors");
  const Inputs read = read_inputs(folder.path() / "in.safetensors", small_config());
  EXPECT_TRUE(read.input_ids.equal(written.input_ids));
  EXPECT_TRUE(read.token_mask.equal(written.token_mask));
  EXPECT_TRUE(read.labels.equal(written.labels));
}

TEST(Inputs, NamesTheTokenOutsideTheVocabulary) {
  const selftest::ScratchFolder folder;
  Inputs inputs = seeded_inputs(small_config(), 5, 20);
  inputs.input_ids.select(0, 1).select(0, 4).fill_(19);
  write_inputs(inputs, folder.path() / "in.safetensors");
  EXPECT_THAT(
      input_error([&] { read_inputs(folder.path() / "in.safetensors", small_config()); }),
      HasSubstr("'input_ids'[1, 4]: expected an id from 0 to 18 (vocab_size - 1), found 19"));
}

TEST(Checkpoint, SurvivesShardedFilesBitwise) {
  const selftest::ScratchFolder folder;
  const Checkpoint written = seeded_checkpoint(small_config(), 11);
  save_checkpoint(written, folder.path() / "m", 4000);
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "m" / "model.safetensors.index.json"));
  const Checkpoint read = load_checkpoint(folder.path() / "m");
  EXPECT_EQ(read.config, written.config);
  EXPECT_TRUE(read.warnings.empty());
  for (const auto& [name, tensor] : written.weights.tensors()) {
    EXPECT_TRUE(read.weights.at(name).equal(tensor)) << name;
  }
}

TEST(Checkpoint, ListsMissingAndLeftOverTensors) {
  const Checkpoint checkpoint = seeded_checkpoint(small_config(), 11);
  std::map<std::string, at::Tensor> tensors = checkpoint.weights.tensors();
  tensors.erase("model.norm.weight");
  tensors.emplace("model.extra.weight", at::zeros({1}));
  tensors["lm_head.weight"] = at::zeros({2, 2});
  const std::string message =
      input_error([&] { WeightStore(checkpoint.manifest, tensors, "folder"); });
  EXPECT_THAT(message, HasSubstr("1 missing (model.norm.weight)"));
  EXPECT_THAT(message, HasSubstr("1 not in the model (model.extra.weight)"));
  EXPECT_THAT(message, HasSubstr("lm_head.weight: expected [19, 12], found [2, 2]"));
}

TEST(Checkpoint, SeededValuesDependOnTheNameAlone) {
  core::ModelConfig more = small_config();
  more.num_hidden_layers = 3;
  more.mlp_layer_types.push_back(core::MlpType::kSparse);
  const Checkpoint small = seeded_checkpoint(small_config(), 3);
  const Checkpoint large = seeded_checkpoint(more, 3);
  for (const auto& [name, tensor] : small.weights.tensors()) {
    EXPECT_TRUE(large.weights.at(name).equal(tensor)) << name;
  }
  EXPECT_FALSE(small.weights.at("model.layers.0.self_attn.o_proj.weight")
                   .equal(seeded_checkpoint(small_config(), 4)
                              .weights.at("model.layers.0.self_attn.o_proj.weight")));
}

TEST(WeightStore, RoundsOnceAndKeepsWhatTheManifestKeeps) {
  const Checkpoint checkpoint = seeded_checkpoint(small_config(), 3);
  const WeightStore rounded =
      checkpoint.weights.rounded(checkpoint.manifest, core::Dtype::kBF16, core::Recipe::kOfficial);
  EXPECT_EQ(rounded.at("model.layers.0.self_attn.o_proj.weight").scalar_type(), at::kBFloat16);
  EXPECT_EQ(rounded.at("model.norm.weight").scalar_type(), at::kFloat);
  const WeightStore hf =
      checkpoint.weights.rounded(checkpoint.manifest, core::Dtype::kBF16, core::Recipe::kHf);
  EXPECT_EQ(hf.at("model.norm.weight").scalar_type(), at::kBFloat16);
  EXPECT_EQ(hf.at("model.layers.0.self_attn.indexer.weights_proj.weight").scalar_type(),
            at::kBFloat16);
  EXPECT_EQ(hf.at("model.layers.1.mlp.gate.e_score_correction_bias").scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace sparity::tensors
