#include "src/core/adapter_layout.h"

#include "src/core/error.h"
#include "src/core/model_config.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace sparity::core {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;
using testing::Not;

/// The model of fixtures/goldens/plain: 3 layers, the first dense, 8 experts of width 24.
const TensorManifest& plain() {
  static const TensorManifest manifest(
      parse_model_config(read_json(SPARITY_SOURCE_DIR "/fixtures/goldens/plain/config.json"), "c")
          .config);
  return manifest;
}

AdapterLayout layout_of(const char* json) {
  Json object = Json::parse(json);
  object.emplace("r", 3);
  object.emplace("lora_alpha", 7);
  const AdapterConfig config = read_adapter_config(object, "a.json");
  AdapterLayout layout(config, plain(), "a.json");
  check_dropout(config, layout, "a.json");
  return layout;
}

std::string layout_refusal(const char* json) {
  try {
    layout_of(json);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_TRUE(std::string(error.what()).starts_with("a.json: ")) << error.what();
    return error.what();
  }
  return "";
}

/// "<what A and B belong to> <rank> <scaling> <A's shape> <B's shape>" of every A and its B.
std::vector<std::string> described(const AdapterLayout& layout) {
  std::vector<std::string> lines;
  const auto& tensors = layout.tensors();
  for (std::size_t i = 0; i < tensors.size(); i += 2) {
    const auto user = std::ranges::find(layout.pairs(), tensors[i].name, &AdapterPair::a);
    const std::string stem = tensors[i].name.substr(0, tensors[i].name.rfind(".lora_A.weight"));
    EXPECT_EQ(tensors[i + 1].name, stem + ".lora_B.weight");
    EXPECT_TRUE(tensors[i].is_a && !tensors[i + 1].is_a);
    EXPECT_TRUE(stem.starts_with("base_model.model."));
    lines.push_back(fmt::format("{} {} {:.6g} {} {}", stem.substr(17), tensors[i].rank,
                                user->scaling, tensors[i].shape, tensors[i + 1].shape));
  }
  return lines;
}

struct Matched {
  const char* config;
  std::vector<std::string> lines;
};

class AdapterMatches : public testing::TestWithParam<Matched> {};

TEST_P(AdapterMatches, WhatPeftMatches) {
  EXPECT_THAT(described(layout_of(GetParam().config)),
              testing::UnorderedElementsAreArray(GetParam().lines));
}

// Recorded from PEFT 0.21.2 on transformers 5.23.0, its experts taken apart as
// fixtures/oracles/adapters.py does.
INSTANTIATE_TEST_SUITE_P(
    Modules, AdapterMatches,
    testing::Values(
        Matched{R"({"target_modules": ["q_a_proj", "indexer.wk"]})",
                {"model.layers.0.self_attn.q_a_proj 3 2.33333 [3, 40] [28, 3]",
                 "model.layers.0.self_attn.indexer.wk 3 2.33333 [3, 40] [16, 3]",
                 "model.layers.1.self_attn.q_a_proj 3 2.33333 [3, 40] [28, 3]",
                 "model.layers.1.self_attn.indexer.wk 3 2.33333 [3, 40] [16, 3]",
                 "model.layers.2.self_attn.q_a_proj 3 2.33333 [3, 40] [28, 3]",
                 "model.layers.2.self_attn.indexer.wk 3 2.33333 [3, 40] [16, 3]"}},
        Matched{R"({"target_modules": ["q_b_proj", "self_attn.o_proj"],
                    "exclude_modules": ["layers.1.self_attn.o_proj", "0.self_attn.q_b_proj"]})",
                {"model.layers.0.self_attn.o_proj 3 2.33333 [3, 50] [40, 3]",
                 "model.layers.1.self_attn.q_b_proj 3 2.33333 [3, 28] [100, 3]",
                 "model.layers.2.self_attn.q_b_proj 3 2.33333 [3, 28] [100, 3]",
                 "model.layers.2.self_attn.o_proj 3 2.33333 [3, 50] [40, 3]"}},
        Matched{R"({"target_modules": ["mlp.gate_proj", "shared_experts.up_proj"]})",
                {"model.layers.0.mlp.gate_proj 3 2.33333 [3, 40] [54, 3]",
                 "model.layers.1.mlp.shared_experts.up_proj 3 2.33333 [3, 40] [24, 3]",
                 "model.layers.2.mlp.shared_experts.up_proj 3 2.33333 [3, 40] [24, 3]"}},
        Matched{R"({"target_modules": ["experts.7.down_proj", "lm_head"]})",
                {"model.layers.1.mlp.experts.7.down_proj 3 2.33333 [3, 24] [40, 3]",
                 "model.layers.2.mlp.experts.7.down_proj 3 2.33333 [3, 24] [40, 3]",
                 "lm_head 3 2.33333 [3, 40] [97, 3]"}},
        Matched{R"({"target_modules": ["down_proj"],
                    "exclude_modules": ".*experts\\.[1-7]\\..*"})",
                {"model.layers.0.mlp.down_proj 3 2.33333 [3, 54] [40, 3]",
                 "model.layers.1.mlp.experts.0.down_proj 3 2.33333 [3, 24] [40, 3]",
                 "model.layers.1.mlp.shared_experts.down_proj 3 2.33333 [3, 24] [40, 3]",
                 "model.layers.2.mlp.experts.0.down_proj 3 2.33333 [3, 24] [40, 3]",
                 "model.layers.2.mlp.shared_experts.down_proj 3 2.33333 [3, 24] [40, 3]"}},
        Matched{R"({"target_modules": ["wq_b", "kv_b_proj"], "layers_to_transform": [0, 2]})",
                {"model.layers.0.self_attn.kv_b_proj 3 2.33333 [3, 20] [110, 3]",
                 "model.layers.0.self_attn.indexer.wq_b 3 2.33333 [3, 28] [288, 3]",
                 "model.layers.2.self_attn.kv_b_proj 3 2.33333 [3, 20] [110, 3]",
                 "model.layers.2.self_attn.indexer.wq_b 3 2.33333 [3, 28] [288, 3]"}},
        Matched{R"({"target_modules": ["o_proj", "model.layers.0.self_attn.kv_b_proj"],
                    "layers_to_transform": 1})",
                {"model.layers.0.self_attn.kv_b_proj 3 2.33333 [3, 20] [110, 3]",
                 "model.layers.1.self_attn.o_proj 3 2.33333 [3, 50] [40, 3]"}},
        Matched{R"({"target_modules": ["up_proj"], "layers_to_transform": [3],
                    "layers_pattern": ["experts"]})",
                {"model.layers.1.mlp.experts.3.up_proj 3 2.33333 [3, 40] [24, 3]",
                 "model.layers.2.mlp.experts.3.up_proj 3 2.33333 [3, 40] [24, 3]"}},
        Matched{R"({"target_modules": ["up_proj"], "layers_to_transform": [0],
                    "layers_pattern": "layers"})",
                {"model.layers.0.mlp.up_proj 3 2.33333 [3, 40] [54, 3]"}},
        Matched{R"json({"target_modules":
                    ".*layers\\.[02]\\.self_attn\\.(q_a_proj|indexer\\.w.*)"})json",
                {"model.layers.0.self_attn.q_a_proj 3 2.33333 [3, 40] [28, 3]",
                 "model.layers.0.self_attn.indexer.wq_b 3 2.33333 [3, 28] [288, 3]",
                 "model.layers.0.self_attn.indexer.wk 3 2.33333 [3, 40] [16, 3]",
                 "model.layers.0.self_attn.indexer.weights_proj 3 2.33333 [3, 40] [18, 3]",
                 "model.layers.2.self_attn.q_a_proj 3 2.33333 [3, 40] [28, 3]",
                 "model.layers.2.self_attn.indexer.wq_b 3 2.33333 [3, 28] [288, 3]",
                 "model.layers.2.self_attn.indexer.wk 3 2.33333 [3, 40] [16, 3]",
                 "model.layers.2.self_attn.indexer.weights_proj 3 2.33333 [3, 40] [18, 3]"}},
        Matched{R"json({"target_modules": "(?!.*experts)model.*\\.(gate|up)_proj"})json",
                {"model.layers.0.mlp.gate_proj 3 2.33333 [3, 40] [54, 3]",
                 "model.layers.0.mlp.up_proj 3 2.33333 [3, 40] [54, 3]"}},
        Matched{R"({"target_modules": ["q_a_proj", "wk", "o_proj"],
                    "rank_pattern": {"q_a_proj": 5, "layers\\.[01]\\.self_attn\\.o_proj": 2},
                    "alpha_pattern": {"indexer.wk": 3, "0.self_attn.o_proj": 1.5}})",
                {"model.layers.0.self_attn.q_a_proj 5 1.4 [5, 40] [28, 5]",
                 "model.layers.0.self_attn.o_proj 2 0.75 [2, 50] [40, 2]",
                 "model.layers.0.self_attn.indexer.wk 3 1 [3, 40] [16, 3]",
                 "model.layers.1.self_attn.q_a_proj 5 1.4 [5, 40] [28, 5]",
                 "model.layers.1.self_attn.o_proj 2 3.5 [2, 50] [40, 2]",
                 "model.layers.1.self_attn.indexer.wk 3 1 [3, 40] [16, 3]",
                 "model.layers.2.self_attn.q_a_proj 5 1.4 [5, 40] [28, 5]",
                 "model.layers.2.self_attn.o_proj 3 2.33333 [3, 50] [40, 3]",
                 "model.layers.2.self_attn.indexer.wk 3 1 [3, 40] [16, 3]"}},
        Matched{R"({"target_modules": ["wk"], "use_rslora": true,
                    "rank_pattern": {"2.*wk": 12}})",
                {"model.layers.0.self_attn.indexer.wk 3 4.04145 [3, 40] [16, 3]",
                 "model.layers.1.self_attn.indexer.wk 3 4.04145 [3, 40] [16, 3]",
                 "model.layers.2.self_attn.indexer.wk 12 2.02073 [12, 40] [16, 12]"}}));

// Recorded from PEFT 0.21.2 on transformers 5.23.0's own model, with stacked experts.
INSTANTIATE_TEST_SUITE_P(
    Parameters, AdapterMatches,
    testing::Values(
        Matched{R"({"target_parameters": ["gate_up_proj", "down_proj"],
                    "rank_pattern": {".*\\.gate_up_proj": 6, "1\\.mlp\\.experts\\.down_proj": 2}})",
                {"model.layers.1.mlp.experts 2 3.5 [16, 24] [40, 16]",
                 "model.layers.1.mlp.experts.base_layer 6 1.16667 [48, 40] [48, 48]",
                 "model.layers.2.mlp.experts 3 2.33333 [24, 24] [40, 24]",
                 "model.layers.2.mlp.experts.base_layer 6 1.16667 [48, 40] [48, 48]"}},
        Matched{R"({"target_parameters": ["1.mlp.experts.gate_up_proj", "gate.weight"]})",
                {"model.layers.1.mlp.experts 3 2.33333 [24, 40] [48, 24]",
                 "model.layers.1.mlp.gate 3 2.33333 [3, 40] [8, 3]",
                 "model.layers.2.mlp.gate 3 2.33333 [3, 40] [8, 3]"}},
        Matched{R"({"target_parameters": ["mlp.gate_proj.weight", "down_proj"],
                    "alpha_pattern": {"gate_proj.weight": 3, "down_proj": 5}})",
                {"model.layers.0.mlp.gate_proj 3 1 [3, 40] [54, 3]",
                 "model.layers.1.mlp.experts 3 1.66667 [24, 24] [40, 24]",
                 "model.layers.2.mlp.experts 3 1.66667 [24, 24] [40, 24]"}},
        Matched{R"({"target_modules": ["q_a_proj"],
                    "target_parameters": ["experts.gate_up_proj", "model.layers.2.mlp.gate.weight",
                                          "shared_experts.up_proj.weight"],
                    "exclude_modules": ["0.self_attn.q_a_proj", "1.self_attn.q_a_proj"]})",
                {"model.layers.1.mlp.experts 3 2.33333 [24, 40] [48, 24]",
                 "model.layers.1.mlp.shared_experts.up_proj 3 2.33333 [3, 40] [24, 3]",
                 "model.layers.2.self_attn.q_a_proj 3 2.33333 [3, 40] [28, 3]",
                 "model.layers.2.mlp.experts 3 2.33333 [24, 40] [48, 24]",
                 "model.layers.2.mlp.gate 3 2.33333 [3, 40] [8, 3]",
                 "model.layers.2.mlp.shared_experts.up_proj 3 2.33333 [3, 40] [24, 3]"}}));

TEST(AdapterLayout, AllLinearMeansEveryLinearButTheHead) {
  const AdapterLayout layout = layout_of(R"({"target_modules": "all-linear"})");
  // 8 of attention and indexer a layer; 3 dense; in two layers the router, 8 experts and the
  // shared.
  EXPECT_EQ(layout.pairs().size(), 3U * 8 + 3 + 2 * (1 + 3 * 9));
  EXPECT_THAT(layout.left_alone(), testing::ElementsAre("lm_head.weight"));
  EXPECT_EQ(layout_of(R"({"target_modules": "All-Linear", "exclude_modules": ["mlp.gate"]})")
                .pairs()
                .size(),
            layout.pairs().size() - 2);
}

TEST(AdapterLayout, ListsPairsInCheckpointOrderAndCounts) {
  const AdapterLayout layout = layout_of(R"({"target_modules": ["gate", "wk", "up_proj"]})");
  std::vector<std::string> in_order;
  std::vector<std::string> adapted;
  for (const ParameterSpec& parameter : plain().parameters()) {
    if (std::ranges::find(layout.pairs(), parameter.name, &AdapterPair::parameter) !=
        layout.pairs().end()) {
      in_order.push_back(parameter.name);
    }
  }
  for (const AdapterPair& pair : layout.pairs()) {
    adapted.push_back(pair.parameter);
    EXPECT_EQ(pair.experts, 1);
  }
  EXPECT_EQ(adapted, in_order);
  std::int64_t count = 0;
  for (const AdapterTensor& tensor : layout.tensors()) {
    EXPECT_EQ(tensor.numel(), tensor.shape[0] * tensor.shape[1]);
    count += tensor.numel();
  }
  EXPECT_EQ(layout.parameter_count(), count);
  EXPECT_EQ(layout.tensors().front().role, ParameterRole::kIndexer);
  EXPECT_EQ(layout.tensors()[2].role, ParameterRole::kMlp);
}

TEST(AdapterLayout, StackedPairsSayWhereTheirRowsAre) {
  const AdapterLayout layout = layout_of(R"({"target_parameters": ["gate_up_proj", "down_proj"]})");
  ASSERT_EQ(layout.pairs().size(), 2U * 8 * 3);
  ASSERT_EQ(layout.tensors().size(), 2U * 4);
  for (const AdapterPair& pair : layout.pairs()) {
    EXPECT_EQ(pair.experts, 8);
    EXPECT_EQ(pair.first_row, pair.parameter.ends_with("up_proj.weight") ? 24 : 0);
    EXPECT_NE(pair.parameter.find(fmt::format(".experts.{}.", pair.expert)), std::string::npos);
    EXPECT_EQ(pair.a.find("base_layer") != std::string::npos,
              !pair.parameter.ends_with("down_proj.weight"));
  }
}

TEST(AdapterLayout, APatternForTheStackedParameterIsForBothHalvesOfSeparateExperts) {
  const AdapterLayout layout = layout_of(R"({"target_modules": ["gate_proj", "up_proj"],
      "use_rslora": true, "rank_pattern": {"experts.gate_up_proj": 8},
      "alpha_pattern": {"experts.gate_up_proj": 6}})");
  for (const AdapterPair& pair : layout.pairs()) {
    const bool routed = pair.parameter.find(".mlp.experts.") != std::string::npos;
    EXPECT_EQ(pair.rank, routed ? 4 : 3);
    EXPECT_DOUBLE_EQ(pair.scaling, routed ? 6 / std::sqrt(8.0) : 7 / std::sqrt(3.0));
  }
}

struct Refused {
  const char* config;
  std::vector<std::string> said;
  std::vector<std::string> not_said = {};
};

class AdapterLayoutRefuses : public testing::TestWithParam<Refused> {};

TEST_P(AdapterLayoutRefuses, ByName) {
  const std::string message = layout_refusal(GetParam().config);
  EXPECT_THAT(message, HasSubstr(": expected "));
  EXPECT_THAT(message, HasSubstr(", found "));
  for (const std::string& part : GetParam().not_said) {
    EXPECT_THAT(message, Not(HasSubstr(part)));
  }
  for (const std::string& part : GetParam().said) {
    EXPECT_THAT(message, HasSubstr(part));
  }
}

// Each listed name and pattern that means nothing, with the nearest that mean something.
INSTANTIATE_TEST_SUITE_P(
    Unmatched, AdapterLayoutRefuses,
    testing::Values(
        Refused{R"({"target_modules": ["indexer.q_b_proj", "indexer.k_proj",
                                       "indexer.weight_proj", "q_a_proj"]})",
                {"a.json: /target_modules: ", "\"indexer.q_b_proj\" (nearest: ", "indexer.wq_b",
                 "\"indexer.k_proj\" (nearest: ", "indexer.wk",
                 "\"indexer.weight_proj\" (nearest: indexer.weights_proj"}},
        Refused{R"({"target_modules": ["q_proj", "wk"]})",
                {"\"q_proj\" (nearest: o_proj, q_a_proj, q_b_proj)"}},
        Refused{R"({"target_modules": ["self_attn"]})", {"\"self_attn\" (nearest: self_attn."}},
        Refused{R"({"target_modules": ["model.layers.0.self_attn.q_proj"]})",
                {"(nearest: model.layers.0.self_attn."}},
        Refused{R"({"target_modules": ["wk", "proj"]})", {"\"proj\""}},
        Refused{R"({"target_modules": "wk"})", {"/target_modules", "\"wk\" (nearest: wk"}},
        Refused{R"({"target_modules": ["wk", "experts.8.up_proj"]})", {"\"experts.8.up_proj\""}},
        Refused{R"({"target_modules": ["wk"], "exclude_modules": ["wqb"]})",
                {"/exclude_modules", "\"wqb\" (nearest: wq_b"}},
        Refused{R"({"target_modules": ["wk"], "exclude_modules": ["wk"]})",
                {"/target_modules", "\"wk\" (only what exclude_modules"}},
        Refused{R"({"target_modules": ["wk"], "target_parameters": ["gate_up"]})",
                {"/target_parameters", "\"gate_up\" (nearest: gate_up_proj"}},
        Refused{R"({"target_modules": ["wk"], "target_parameters": ["wk"]})",
                {"/target_parameters", "\"wk\" (nearest: wk.weight)"}},
        Refused{R"({"target_modules": ["wk"], "rank_pattern": {"k": 2}})",
                {"/rank_pattern", "\"k\""}},
        Refused{R"({"target_modules": ["wk"], "alpha_pattern": {"wq_b": 2}})",
                {"/alpha_pattern", "\"wq_b\""}},
        Refused{R"({"target_parameters": ["gate.weight"], "rank_pattern": {"gate": 2}})",
                {"/rank_pattern", "\"gate\""}},
        Refused{R"({"target_modules": ["wk"], "layers_to_transform": [0, 3]})",
                {"/layers_to_transform", "found 3"}},
        Refused{R"({"target_modules": ["q_a_proj"], "layers_to_transform": [9]})",
                {"a.json: /layers_to_transform: ", "found 9"},
                {"/target_modules"}},
        Refused{R"({"target_modules": ["q_a_proj"], "layers_to_transform": [0],
                    "layers_pattern": "blocks"})",
                {"a.json: /layers_pattern/0: ", "found \"blocks\""},
                {"/target_modules", "/layers_to_transform"}},
        Refused{R"({"target_modules": ["q_a_proj", "wq"], "layers_to_transform": [9]})",
                {"/layers_to_transform: ", "found 9", "/target_modules: ", "found \"wq\""},
                {"\"q_a_proj\""}},
        Refused{R"({"target_modules": ["q_a_proj"], "layers_to_transform": [1, 9],
                    "layers_pattern": ["blocks", "layers"]})",
                {"/layers_to_transform: ", "found 9", "/layers_pattern/0: "},
                {"/target_modules", "found 1"}},
        Refused{R"({"target_modules": ["wk", "mlp.up_proj"], "layers_to_transform": [1]})",
                {"/target_modules", "\"mlp.up_proj\" (only what"}},
        Refused{R"({"target_modules": ["wk"], "layers_to_transform": [0],
                    "layers_pattern": ["layers", "h"]})",
                {"/layers_pattern/1", "\"h\""}},
        Refused{R"({"target_modules": ["wk", "wq"], "exclude_modules": ["wqb"],
                    "target_parameters": ["gate_up"], "layers_to_transform": [0, 7, 9],
                    "rank_pattern": {"q_a": 2}, "alpha_pattern": {"q_b": 2}})",
                {"/target_modules: ", "\"wq\"", "; a.json: /exclude_modules: ", "\"wqb\"",
                 "/target_parameters: ", "\"gate_up\"", "/layers_to_transform: ", "found 7",
                 "found 9", "/rank_pattern: ", "\"q_a\"", "/alpha_pattern: ", "\"q_b\""}}));

INSTANTIATE_TEST_SUITE_P(
    NotLinear, AdapterLayoutRefuses,
    testing::Values(
        Refused{R"({"target_modules": ["wk", "embed_tokens"]})", {"model.embed_tokens"}},
        Refused{R"({"target_modules": ["indexer.k_norm"]})",
                {"model.layers.0.self_attn.indexer.k_norm"}},
        Refused{R"({"target_modules": ["norm"]})", {"model.norm"}},
        Refused{R"({"target_modules": ".*"})", {"model.embed_tokens"}},
        Refused{R"({"target_parameters": ["input_layernorm.weight"]})",
                {"model.layers.0.input_layernorm.weight"}},
        Refused{R"({"target_parameters": ["embed_tokens.weight"]})", {"model.embed_tokens.weight"}},
        Refused{R"({"target_parameters": ["e_score_correction_bias"]})",
                {"gate.e_score_correction_bias"}}));

INSTANTIATE_TEST_SUITE_P(
    Together, AdapterLayoutRefuses,
    testing::Values(
        Refused{
            R"({"target_modules": ["wk"], "rank_pattern": {"wk": 2, "indexer.wk": 3}})",
            {"/rank_pattern", "model.layers.0.self_attn.indexer.wk", "\"indexer.wk\"", "\"wk\""}},
        Refused{R"({"target_modules": ["down_proj"], "target_parameters": ["gate_up_proj"]})",
                {"/target_parameters", "model.layers.1.mlp.experts"}},
        Refused{R"({"target_modules": ["kv_b_proj"], "lora_dropout": 0.1})",
                {"/lora_dropout", "model.layers.0.self_attn.kv_b_proj", "found 0.1"}},
        Refused{R"({"target_modules": ["experts.0.up_proj"], "lora_dropout": 0.1})",
                {"/lora_dropout", "model.layers.1.mlp.experts.0.up_proj"}},
        Refused{R"({"target_parameters": ["down_proj"], "lora_dropout": 0.1})",
                {"/lora_dropout", "model.layers.1.mlp.experts.0.down_proj"}},
        Refused{R"({"target_modules": ["up_proj"],
                    "rank_pattern": {"experts.gate_up_proj": 3}})",
                {"/rank_pattern", "an even rank", "found 3"}}));

TEST(AdapterLayout, OfOverlappingPatternsTheFirstCountsInAFileOfPefts) {
  AdapterConfig config;
  config.target_modules.names = {"wk"};
  config.rank_pattern = {{"wk", 2}, {"indexer.wk", 3}};
  EXPECT_THROW(AdapterLayout(config, plain(), "a.json"), Error);
  const AdapterLayout layout(config, plain(), "a.json", Overlap::kFirstCounts);
  for (const AdapterPair& pair : layout.pairs()) {
    EXPECT_EQ(pair.rank, 3) << pair.parameter;
  }
}

TEST(AdapterLayout, DropoutIsFineWhereAnInputIsSeen) {
  EXPECT_EQ(layout_refusal(R"({"target_modules": ["q_a_proj", "o_proj", "wk", "mlp.up_proj"],
                        "lora_dropout": 0.1})"),
            "");
}

}  // namespace
}  // namespace sparity::core
