#include "src/core/adapter_config.h"

#include "src/core/error.h"
#include "src/core/name_pattern.h"
#include "src/core/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <string>

namespace sparity::core {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

/// As PEFT 0.21.2 writes it, every field included.
Json written_by_peft() {
  return read_json(SPARITY_SOURCE_DIR
                   "/fixtures/goldens/training/lora/adapter/adapter_config.json");
}

/// The message with which `json` is refused, "" when it is not.
std::string adapter_refusal(const Json& json) {
  try {
    read_adapter_config(json, "a.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.what();
  }
  return "";
}

std::string adapter_refusal_with(const std::string& pointer, const Json& value) {
  Json json = written_by_peft();
  json[Json::json_pointer(pointer)] = value;
  return adapter_refusal(json);
}

TEST(AdapterConfig, EveryFieldThatPeftWritesIsKnown) {
  const AdapterConfig config = read_adapter_config(written_by_peft(), "a.json");
  EXPECT_EQ(config.r, 3);
  EXPECT_EQ(config.lora_alpha, 7);
  EXPECT_EQ(config.lora_dropout, 0);
  EXPECT_FALSE(config.use_rslora);
  EXPECT_EQ(config.init_lora_weights, AdapterInit::kKaimingUniform);
  EXPECT_EQ(config.target_modules.names.size(), 11U);
  EXPECT_TRUE(config.exclude_modules.empty());
  EXPECT_TRUE(config.target_parameters.empty());
  EXPECT_EQ(config.base_model_name_or_path, "");
}

TEST(AdapterConfig, AbsentFieldsHavePeftsDefaults) {
  const AdapterConfig config = read_adapter_config({{"target_modules", {"wk"}}}, "a.json");
  EXPECT_EQ(config.r, 8);
  EXPECT_EQ(config.lora_alpha, 8);
  EXPECT_EQ(config.lora_dropout, 0);
  EXPECT_FALSE(config.use_rslora);
}

TEST(AdapterConfig, ComesBackFromItsOwnJson) {
  const Json given = {{"r", 5},
                      {"lora_alpha", 2.5},
                      {"lora_dropout", 0.125},
                      {"use_rslora", true},
                      {"init_lora_weights", "gaussian"},
                      {"target_modules", {"wk", "o_proj"}},
                      {"target_parameters", {"gate.weight"}},
                      {"exclude_modules", ".*indexer.*"},
                      {"layers_to_transform", {2, 0}},
                      {"layers_pattern", {"layers"}},
                      {"rank_pattern", {{"wk", 2}}},
                      {"alpha_pattern", {{"o_proj", 3}}},
                      {"base_model_name_or_path", "base"}};
  const Json once = to_json(read_adapter_config(given, "a.json"));
  EXPECT_EQ(to_json(read_adapter_config(once, "b.json")), once);
  for (const auto& [key, value] : given.items()) {
    EXPECT_EQ(once.at(key), value) << key;
  }
  EXPECT_EQ(once.at("peft_type"), "LORA");
  EXPECT_TRUE(to_json(AdapterConfig{}).at("lora_alpha").is_number_integer());
}

TEST(AdapterConfig, OneNameOrLayerMayStandAlone) {
  const Json json = {{"target_modules", "all-linear"}, {"exclude_modules", {"wk"}}};
  EXPECT_EQ(read_adapter_config(json, "a").target_modules.expression, "all-linear");
  const Json layer = {
      {"target_modules", {"wk"}}, {"layers_to_transform", 2}, {"layers_pattern", "layers"}};
  EXPECT_EQ(read_adapter_config(layer, "a").layers_to_transform, std::vector<std::int64_t>{2});
}

struct RejectedAdapter {
  const char* pointer;
  const char* value;  // JSON
};

class AdapterConfigRejects : public testing::TestWithParam<RejectedAdapter> {};

TEST_P(AdapterConfigRejects, TheFieldByItsPointer) {
  ASSERT_EQ(adapter_refusal(written_by_peft()), "");
  const std::string message =
      adapter_refusal_with(GetParam().pointer, Json::parse(GetParam().value));
  EXPECT_TRUE(message.starts_with(std::string("a.json: ") + GetParam().pointer)) << message;
  EXPECT_THAT(message, HasSubstr(": expected "));
  EXPECT_THAT(message, HasSubstr(", found "));
}

// What PEFT has and this does not.
INSTANTIATE_TEST_SUITE_P(Unsupported, AdapterConfigRejects,
                         testing::Values(RejectedAdapter{"/peft_type", "\"LOHA\""},
                                         RejectedAdapter{"/bias", "\"lora_only\""},
                                         RejectedAdapter{"/use_dora", "true"},
                                         RejectedAdapter{"/fan_in_fan_out", "true"},
                                         RejectedAdapter{"/modules_to_save", "[\"lm_head\"]"},
                                         RejectedAdapter{"/lora_bias", "true"},
                                         RejectedAdapter{"/layer_replication", "[[0, 2]]"},
                                         RejectedAdapter{"/init_lora_weights", "false"},
                                         RejectedAdapter{"/init_lora_weights", "\"pissa\""},
                                         RejectedAdapter{"/init_lora_weights", "\"eva\""},
                                         RejectedAdapter{"/loftq_config", R"({"loftq_bits": 4})"},
                                         RejectedAdapter{"/use_qalora", "true"},
                                         RejectedAdapter{"/alora_invocation_tokens", "[1]"},
                                         RejectedAdapter{"/megatron_config", R"({"a": 1})"},
                                         RejectedAdapter{"/trainable_token_indices", "[3]"},
                                         RejectedAdapter{"/ensure_weight_tying", "true"},
                                         RejectedAdapter{"/kasa_config", R"({"a": 1})"},
                                         RejectedAdapter{"/use_bdlora", R"({"a": 1})"},
                                         RejectedAdapter{"/eva_config", R"({"rho": 2})"},
                                         RejectedAdapter{"/use_dora", "1"}));

// Values of the wrong type or out of range.
INSTANTIATE_TEST_SUITE_P(
    Malformed, AdapterConfigRejects,
    testing::Values(
        RejectedAdapter{"/r", "0"}, RejectedAdapter{"/r", "-3"},
        RejectedAdapter{"/r", "1099511627776"}, RejectedAdapter{"/r", "3.0"},
        RejectedAdapter{"/r", "null"}, RejectedAdapter{"/r", "\"3\""},
        RejectedAdapter{"/lora_alpha", "null"}, RejectedAdapter{"/lora_alpha", "-1"},
        RejectedAdapter{"/lora_alpha", "1e300"}, RejectedAdapter{"/lora_alpha", "\"NaN\""},
        RejectedAdapter{"/lora_dropout", "1"}, RejectedAdapter{"/lora_dropout", "1.0"},
        RejectedAdapter{"/lora_dropout", "-0.1"}, RejectedAdapter{"/lora_dropout", "1.5"},
        RejectedAdapter{"/use_rslora", "1"}, RejectedAdapter{"/target_modules", "7"},
        RejectedAdapter{"/target_modules", "null"}, RejectedAdapter{"/target_modules", "[]"},
        RejectedAdapter{"/target_modules", "\"\""}, RejectedAdapter{"/target_modules/2", "3"},
        RejectedAdapter{"/target_modules/0", "\"\""},
        RejectedAdapter{"/target_modules", "[\"wk\", \"wk\"]"},
        RejectedAdapter{"/target_modules", "\"(wk\""},
        RejectedAdapter{"/target_modules", "\"*wk\""},
        RejectedAdapter{"/target_modules", R"("(wk)\\1")"},
        RejectedAdapter{"/target_parameters", "\"wk\""},
        RejectedAdapter{"/exclude_modules", "\"[wk\""}, RejectedAdapter{"/exclude_modules", "{}"},
        RejectedAdapter{"/layers_to_transform", "-1"},
        RejectedAdapter{"/layers_to_transform", "[0, 0]"},
        RejectedAdapter{"/layers_to_transform", "[0.5]"},
        RejectedAdapter{"/layers_to_transform", "true"},
        RejectedAdapter{"/layers_to_transform", "9223372036854775808"},
        RejectedAdapter{"/layers_pattern", "\"layers\""},
        RejectedAdapter{"/layers_pattern", "[\"l.*\"]"}, RejectedAdapter{"/rank_pattern", "[3]"},
        RejectedAdapter{"/rank_pattern/wk", "0"}, RejectedAdapter{"/rank_pattern/wk", "2.5"},
        RejectedAdapter{"/rank_pattern", R"({"(wk": 2})"},
        RejectedAdapter{"/alpha_pattern/wk", "\"3\""},
        RejectedAdapter{"/alpha_pattern", R"({"": 3})"},
        RejectedAdapter{"/base_model_name_or_path", "3"}));

TEST(AdapterConfig, HasNoUnknownField) {
  EXPECT_THAT(adapter_refusal_with("/target_moduls", {"wk"}),
              HasSubstr("a.json: expected the fields of PEFT 0.21.2's LoraConfig, found another: "
                        "\"/target_moduls\""));
}

TEST(AdapterConfig, IsAnObject) {
  for (const char* text : {"[]", "3", "null", "\"r\""}) {
    EXPECT_THAT(adapter_refusal(Json::parse(text)),
                HasSubstr("a.json: the whole file: expected an object"))
        << text;
  }
}

TEST(AdapterConfig, LayersDoNotGoWithAnExpression) {
  Json json = written_by_peft();
  json["target_modules"] = ".*wk";
  json["layers_to_transform"] = {0};
  EXPECT_THAT(adapter_refusal(json), HasSubstr("/layers_to_transform: expected nothing"));
}

TEST(NamePattern, MatchesAsPythonsFullmatchAndPeftsPatternsDo) {
  const NamePattern pattern("layers\\.[01]\\.(q|k)_proj", "p");
  EXPECT_TRUE(pattern.matches_whole("layers.1.q_proj"));
  EXPECT_FALSE(pattern.matches_whole("model.layers.1.q_proj"));
  EXPECT_TRUE(pattern.matches_end("model.layers.1.q_proj"));
  EXPECT_FALSE(pattern.matches_end("xlayers.1.q_proj"));
  EXPECT_FALSE(pattern.matches_end("model.layers.1.q_proj.weight"));
  EXPECT_TRUE(NamePattern("a|b", "p").matches_end("x.b"));
  EXPECT_FALSE(NamePattern("a|b", "p").matches_end("x.ab"));
  EXPECT_TRUE(NamePattern("(?!.*experts).*up_proj", "p").matches_whole("mlp.up_proj"));
  EXPECT_FALSE(NamePattern("(?!.*experts).*up_proj", "p").matches_whole("experts.0.up_proj"));
  EXPECT_TRUE(NamePattern(escape_pattern("a.b"), "p").matches_whole("a.b"));
  EXPECT_FALSE(NamePattern(escape_pattern("a.b"), "p").matches_whole("axb"));
}

TEST(NamePattern, CannotBeMadeToHangOrToOverflow) {
  const auto started = std::chrono::steady_clock::now();
  EXPECT_FALSE(NamePattern("(a*)*(a*)*(a|a)*b", "p").matches_whole(std::string(200, 'a')));
  EXPECT_TRUE(NamePattern("layers\\.\\d{1,3}\\.x", "p").matches_whole("layers.17.x"));
  EXPECT_TRUE(NamePattern(std::string(1000, 'a'), "p").matches_whole(std::string(1000, 'a')));
  // As large as the bounds allow, and as deep.
  std::string optional;
  while (optional.size() < 900) {
    optional += "a?";
  }
  EXPECT_TRUE(NamePattern("(" + optional + "){4}", "p").matches_whole(std::string(100, 'a')));
  EXPECT_TRUE(
      NamePattern(std::string(499, '(') + "a" + std::string(499, ')'), "p").matches_whole("a"));
  for (const std::string& bomb :
       {std::string(1001, 'a'), std::string("a{5000}"), std::string("((((a{9}){9}){9}){9}){9}"),
        std::string("(a?){2,99999999999999999999}"), std::string(2000, '(')}) {
    EXPECT_THROW(NamePattern(bomb, "p"), Error) << bomb.substr(0, 40);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(20));
}

}  // namespace
}  // namespace sparity::core
