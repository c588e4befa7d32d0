#include "src/core/adapter_export.h"

#include "src/core/error.h"
#include "src/core/model_config.h"
#include "src/core/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <string>

namespace sparity::core {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

AdapterConfig exported(const char* json) {
  static const TensorManifest manifest(
      parse_model_config(read_json(SPARITY_SOURCE_DIR "/fixtures/goldens/plain/config.json"), "c")
          .config);
  Json object = Json::parse(json);
  object.emplace("r", 3);
  object.emplace("lora_alpha", 7);
  const AdapterConfig config = read_adapter_config(object, "a.json");
  return config_for_peft(config, AdapterLayout(config, manifest, "a.json"), "out");
}

std::string export_refusal(const char* json) {
  try {
    exported(json);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_TRUE(std::string(error.what()).starts_with("out: ")) << error.what();
    return error.what();
  }
  return "";
}

// What each writes was loaded by PEFT 0.21.2 with the logits of W + scaling · B · A
// (fixtures/oracles/check_adapters.py).
TEST(AdapterExport, NamesDenseAndSharedMatricesAndRoutersAsParameters) {
  const AdapterConfig config =
      exported(R"({"target_modules": ["gate_proj", "up_proj", "down_proj", "gate", "q_a_proj"]})");
  EXPECT_THAT(config.target_modules.names,
              ElementsAre("down_proj", "gate_proj", "q_a_proj", "up_proj"));
  EXPECT_THAT(config.target_parameters,
              ElementsAre("gate.weight", "mlp.down_proj.weight", "mlp.gate_proj.weight",
                          "mlp.up_proj.weight", "shared_experts.down_proj.weight",
                          "shared_experts.gate_proj.weight", "shared_experts.up_proj.weight"));
  EXPECT_THAT(config.rank_pattern, IsEmpty());
  EXPECT_THAT(config.alpha_pattern, IsEmpty());
}

TEST(AdapterExport, LeavesOutNothingAndTakesNothingIn) {
  const AdapterConfig dense = exported(R"({"target_modules": ["mlp.up_proj"]})");
  EXPECT_THAT(dense.target_modules.names, IsEmpty());
  EXPECT_THAT(dense.target_parameters, ElementsAre("mlp.up_proj.weight"));
  const AdapterConfig some = exported(
      R"json({"target_modules": ".*layers\\.[02]\\.self_attn\\.(q_a_proj|indexer\\.wk)"})json");
  EXPECT_THAT(some.target_modules.names,
              ElementsAre("0.self_attn.indexer.wk", "0.self_attn.q_a_proj",
                          "2.self_attn.indexer.wk", "2.self_attn.q_a_proj"));
  EXPECT_FALSE(some.target_modules.expression);
  const AdapterConfig without = exported(R"({"target_modules": ["wk", "o_proj"],
      "exclude_modules": ["1.self_attn.o_proj"]})");
  EXPECT_THAT(without.target_modules.names,
              ElementsAre("0.self_attn.o_proj", "2.self_attn.o_proj", "wk"));
  EXPECT_TRUE(without.exclude_modules.empty());
}

TEST(AdapterExport, KeepsTheScalingOfWhatPeftFuses) {
  const AdapterConfig config = exported(R"({"target_modules": ["gate_proj", "up_proj", "down_proj"],
      "use_rslora": true, "exclude_modules": ".*shared.*|model.layers.0.*"})");
  // PEFT doubles rank and alpha of gate and up: 2 · 7 / √6 would be √2 too much.
  ASSERT_THAT(config.alpha_pattern, testing::SizeIs(1));
  EXPECT_EQ(config.alpha_pattern.begin()->first, "(gate_up_proj)");
  EXPECT_NEAR(config.alpha_pattern.begin()->second / std::sqrt(6.0), 7 / std::sqrt(3.0), 1e-15);
  const AdapterConfig own = exported(R"({"target_modules": ["gate_proj", "up_proj", "down_proj"],
      "rank_pattern": {"experts\\.\\d+\\.\\w+": 5}})");
  EXPECT_THAT(own.rank_pattern, ElementsAre(testing::Pair("(gate_up_proj)", 10),
                                            testing::Pair("experts\\.down_proj", 5)));
  EXPECT_THAT(own.alpha_pattern, IsEmpty());
}

TEST(AdapterExport, StackedExpertsStayStacked) {
  const AdapterConfig config = exported(R"({"target_parameters": ["gate_up_proj",
      "1.mlp.experts.down_proj"], "rank_pattern": {".*\\.gate_up_proj": 6}})");
  EXPECT_THAT(config.target_modules.names, IsEmpty());
  EXPECT_THAT(config.target_parameters, ElementsAre("1.mlp.experts.down_proj", "gate_up_proj"));
  EXPECT_THAT(config.rank_pattern, ElementsAre(testing::Pair("gate_up_proj", 6)));
}

TEST(AdapterExport, RefusesWhatPeftCannotLoad) {
  EXPECT_THAT(export_refusal(R"({"target_modules": ["gate_proj"]})"),
              HasSubstr("model.layers.1.mlp.experts.0.gate_proj.weight without "
                        "model.layers.1.mlp.experts.7.up_proj.weight"));
  EXPECT_THAT(export_refusal(R"({"target_modules": ["gate_proj", "up_proj"]})"),
              HasSubstr("experts.7.down_proj.weight"));
  EXPECT_THAT(export_refusal(R"({"target_modules": ["down_proj"], "exclude_modules":
                          ["2.mlp.experts.3.down_proj"]})"),
              HasSubstr("without model.layers.2.mlp.experts.3.down_proj.weight"));
  EXPECT_THAT(export_refusal(R"({"target_modules": ["down_proj"],
                          "rank_pattern": {"experts.3.down_proj": 2}})"),
              HasSubstr("2 of 3.5 for model.layers.1.mlp.experts.3.down_proj.weight"));
  EXPECT_THAT(export_refusal(R"({"target_modules": ["down_proj", "gate_proj", "up_proj"],
                          "alpha_pattern": {"experts\\.\\d+\\.up_proj": 2}})"),
              HasSubstr("one rank and one scaling"));
  for (const char* name : {"mlp.up_proj", "shared_experts.up_proj", "gate"}) {
    const std::string config =
        std::string(R"({"lora_dropout": 0.1, "target_modules": [")") + name + "\"]}";
    EXPECT_THAT(export_refusal(config.c_str()), HasSubstr("/lora_dropout: expected 0")) << name;
  }
  EXPECT_EQ(export_refusal(R"({"target_modules": ["q_a_proj", "wk"], "lora_dropout": 0.1})"), "");
  EXPECT_EQ(export_refusal(R"({"target_modules": ["down_proj"]})"), "");
}

}  // namespace
}  // namespace sparity::core
