#include "src/core/error.h"
#include "src/core/model_config.h"
#include "src/core/strict_json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

namespace sparity::core {
namespace {

constexpr const char* kFolder = SPARITY_SOURCE_DIR "/fixtures/configs/";

ParsedConfig parse(const std::string& text) {
  return parse_model_config(parse_json(text, "in.json"), "in.json");
}

class ConfigFixture : public testing::TestWithParam<const char*> {};

TEST_P(ConfigFixture, ParsesWithoutWarningsAndSurvivesTheRoundTrip) {
  const ParsedConfig parsed = read_model_config(std::string(kFolder) + GetParam() + ".json");
  EXPECT_EQ(parsed.warnings, std::vector<std::string>{});
  const ParsedConfig again = parse_model_config(to_json(parsed.config), "again");
  EXPECT_EQ(again.warnings, std::vector<std::string>{});
  EXPECT_EQ(again.config, parsed.config);
  EXPECT_EQ(config_hash(again.config), config_hash(parsed.config));
  // Text and back: no digit of a double is lost.
  EXPECT_EQ(parse(to_json(parsed.config).dump()).config, parsed.config);
}

INSTANTIATE_TEST_SUITE_P(All, ConfigFixture,
                         testing::Values("tiny", "fork-tiny", "fork-small", "fork-medium", "671b"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(ModelConfig, TinyIsTheEmbeddedModel) {
  const ModelConfig tiny = read_model_config(std::string(kFolder) + "tiny.json").config;
  EXPECT_EQ(tiny.vocab_size, 211);
  EXPECT_EQ(tiny.index_topk, 12);
  EXPECT_EQ(tiny.qk_head_dim(), 36);
  EXPECT_EQ(tiny.rope_parameters.rope_type, RopeType::kYarn);
  EXPECT_EQ(tiny.rope_parameters.factor, 8.0);
  EXPECT_EQ(tiny.rope_parameters.original_max_position_embeddings, 24);
  EXPECT_EQ(tiny.rope_parameters.mscale, 1.0);
  EXPECT_EQ(tiny.rope_parameters.attention_factor, std::nullopt);
  EXPECT_FALSE(tiny.is_moe_layer(0));
  EXPECT_TRUE(tiny.is_moe_layer(1));
}

// The fields of the released config.json, in the spelling of the hub.
constexpr const char* kHub = R"({
  "architectures": ["DeepseekV32ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 0, "eos_token_id": [1, 2], "ep_size": 1, "first_k_dense_replace": 3,
  "hidden_act": "silu", "hidden_size": 7168, "index_head_dim": 128, "index_n_heads": 64,
  "index_topk": 2048, "initializer_range": 0.02, "intermediate_size": 18432, "kv_lora_rank": 512,
  "max_position_embeddings": 163840, "model_type": "deepseek_v32", "moe_intermediate_size": 2048,
  "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1,
  "norm_topk_prob": true, "num_attention_heads": 128, "num_experts_per_tok": 8,
  "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1,
  "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06,
  "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0,
    "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "type": "yarn"},
  "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
  "tie_word_embeddings": false, "topk_group": 4, "topk_method": "noaux_tc",
  "torch_dtype": "bfloat16", "transformers_version": "4.44.2", "use_cache": true,
  "v_head_dim": 128, "vocab_size": 129280})";

TEST(ModelConfig, ReadsTheHubsSpellingAsTheSameModel) {
  const ParsedConfig parsed = parse(kHub);
  EXPECT_EQ(parsed.warnings, std::vector<std::string>{});
  EXPECT_EQ(parsed.config, read_model_config(std::string(kFolder) + "671b.json").config);
}

// The fields of DeepSeek's own config_671B_v3.2.json, but for its FP8 dtype.
constexpr const char* kOfficial = R"({
  "vocab_size": 129280, "dim": 7168, "inter_dim": 18432, "moe_inter_dim": 2048, "n_layers": 61,
  "n_dense_layers": 3, "n_heads": 128, "n_routed_experts": 256, "n_shared_experts": 1,
  "n_activated_experts": 8, "n_expert_groups": 8, "n_limited_groups": 4, "route_scale": 2.5,
  "score_func": "sigmoid", "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
  "qk_rope_head_dim": 64, "v_head_dim": 128, "dtype": "bf16", "scale_fmt": "ue8m0",
  "index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048})";

TEST(ModelConfig, ReadsTheOfficialSpellingAsTheSameModel) {
  const ParsedConfig parsed = parse(kOfficial);
  EXPECT_EQ(parsed.warnings, std::vector<std::string>{});
  ModelConfig expected = read_model_config(std::string(kFolder) + "671b.json").config;
  expected.max_position_embeddings = 16384;  // what the official code assumes
  EXPECT_EQ(parsed.config, expected);
}

TEST(ModelConfig, OfficialYarnDependsOnLength) {
  nlohmann::json json = nlohmann::json::parse(kOfficial);
  json["max_seq_len"] = 4096;
  EXPECT_EQ(parse(json.dump()).config.rope_parameters.rope_type, RopeType::kDefault);
  json["max_seq_len"] = 4097;
  json["mscale"] = 0.5;
  const RopeParameters rope = parse(json.dump()).config.rope_parameters;
  EXPECT_EQ(rope.rope_type, RopeType::kYarn);
  EXPECT_EQ(rope.factor, 40.0);
  EXPECT_EQ(rope.mscale, 0.5);
  EXPECT_EQ(rope.mscale_all_dim, 0.5);
}

TEST(ModelConfig, TellsWhichAbsentFieldsTookTheReleasedValue) {
  const ParsedConfig parsed = parse(R"({"model_type": "deepseek_v32", "num_hidden_layers": 2})");
  ASSERT_EQ(parsed.warnings.size(), 2U);
  EXPECT_NE(parsed.warnings[0].find("hidden_size = 7168"), std::string::npos);
  EXPECT_EQ(parsed.warnings[0].find("num_hidden_layers"), std::string::npos);
  EXPECT_NE(parsed.warnings[1].find("first_k_dense_replace"), std::string::npos);
  EXPECT_FALSE(parsed.config.is_moe_layer(1));  // 3 dense layers of 2
}

TEST(ModelConfig, WarnsOfKeysThatItDoesNotKnow) {
  nlohmann::json json = nlohmann::json::parse(kHub);
  json["a/b"] = 1;
  json["rope_scaling"]["color"] = "red";
  const std::vector<std::string> warnings = parse(json.dump()).warnings;
  EXPECT_EQ(warnings, (std::vector<std::string>{"in.json: /rope_scaling/color: unknown, ignored",
                                                "in.json: /a~1b: unknown, ignored"}));
}

TEST(ModelConfig, TakesEitherNameOfTheExperts) {
  nlohmann::json json = nlohmann::json::parse(kHub);
  json["num_experts"] = 256;
  EXPECT_EQ(parse(json.dump()).warnings.size(), 1U);
  json.erase("n_routed_experts");
  json["num_experts"] = 128;
  EXPECT_EQ(parse(json.dump()).config.n_routed_experts, 128);
}

TEST(ModelConfig, LayerListsCountBeforeTheirShorthand) {
  nlohmann::json json = nlohmann::json::parse(kHub);
  json["num_hidden_layers"] = 3;
  json["mlp_layer_types"] = {"sparse", "dense", "sparse"};
  json["layer_types"] = {"indexed_attention", "deepseek_sparse_attention", "indexed_attention"};
  const ParsedConfig parsed = parse(json.dump());
  EXPECT_EQ(parsed.warnings.size(), 1U);  // first_k_dense_replace says 3
  EXPECT_TRUE(parsed.config.is_moe_layer(0));
  EXPECT_FALSE(to_json(parsed.config).contains("first_k_dense_replace"));
  EXPECT_EQ(parse_model_config(to_json(parsed.config), "").config, parsed.config);
}

TEST(ModelConfig, RopeFallsBackAsTransformersDoes) {
  nlohmann::json json = nlohmann::json::parse(kHub);
  json["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4}, {"beta_fast", nullptr}};
  const ParsedConfig parsed = parse(json.dump());
  const RopeParameters& rope = parsed.config.rope_parameters;
  EXPECT_EQ(parsed.warnings.size(), 1U);
  EXPECT_EQ(rope.original_max_position_embeddings, 163840);
  EXPECT_EQ(rope.beta_fast, 32.0);
  EXPECT_EQ(rope.mscale, std::nullopt);
  json["rope_scaling"] = nullptr;
  json["rope_parameters"] = {{"rope_theta", 10000.0}};
  EXPECT_EQ(parse(json.dump()).config.rope_parameters, RopeParameters{});
  json["rope_parameters"]["factor"] = 4.0;  // nothing for YaRN to read
  EXPECT_EQ(parse(json.dump()).config.rope_parameters, RopeParameters{});
  EXPECT_EQ(parse(json.dump()).warnings.size(), 1U);
}

TEST(ModelConfig, ExpertRulesHoldOnlyWhereThereAreExperts) {
  nlohmann::json json = nlohmann::json::parse(kHub);
  json["n_group"] = 3;
  EXPECT_THROW(parse(json.dump()), Error);
  json["first_k_dense_replace"] = 61;
  EXPECT_EQ(parse(json.dump()).config.n_group, 3);
}

TEST(ModelConfig, HashTellsConfigsApart) {
  const ModelConfig config = parse(kHub).config;
  ModelConfig other = config;
  other.rms_norm_eps = 1.0000000000000002e-6;
  EXPECT_EQ(config_hash(config).size(), 16U);
  EXPECT_NE(config_hash(config), config_hash(other));
}

}  // namespace
}  // namespace sparity::core
