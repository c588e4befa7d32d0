#include "src/core/error.h"
#include "src/core/model_config.h"
#include "src/core/strict_json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <functional>
#include <limits>
#include <string>

namespace sparity::core {
namespace {

using Json = nlohmann::json;

Json tiny() { return read_json(SPARITY_SOURCE_DIR "/fixtures/configs/tiny.json"); }

/// The message with which `json` is refused, "" when it is not.
std::string refusal(const Json& json) {
  try {
    parse_model_config(json, "c.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.what();
  }
  return "";
}

/// tiny with the value at `pointer` replaced.
std::string refusal_with(const std::string& pointer, const Json& value) {
  Json json = tiny();
  json[Json::json_pointer(pointer)] = value;
  return refusal(json);
}

struct Rejected {
  const char* pointer;
  const char* value;  // JSON
};

class ConfigRejects : public testing::TestWithParam<Rejected> {};

TEST_P(ConfigRejects, TheFieldByItsPointer) {
  ASSERT_EQ(refusal(tiny()), "");
  const std::string message = refusal_with(GetParam().pointer, Json::parse(GetParam().value));
  EXPECT_TRUE(message.starts_with(std::string("c.json: ") + GetParam().pointer + ": expected "))
      << message;
  EXPECT_NE(message.find(", found "), std::string::npos) << message;
}

// Values that are known and not supported.
INSTANTIATE_TEST_SUITE_P(
    Unsupported, ConfigRejects,
    testing::Values(
        Rejected{"/model_type", "\"deepseek_v3\""}, Rejected{"/model_type", "7"},
        Rejected{"/hidden_act", "\"gelu\""}, Rejected{"/attention_bias", "true"},
        Rejected{"/mlp_bias", "true"}, Rejected{"/tie_word_embeddings", "true"},
        Rejected{"/attention_dropout", "0.1"}, Rejected{"/scoring_func", "\"softmax\""},
        Rejected{"/topk_method", "\"greedy\""}, Rejected{"/moe_layer_freq", "2"},
        Rejected{"/rope_interleave", "false"}, Rejected{"/indexer_rope_interleave", "true"},
        Rejected{"/partial_rotary_factor", "0.5"}, Rejected{"/use_sparse_attention", "false"},
        Rejected{"/quantization_config", R"({"quant_method": "fp8"})"},
        Rejected{"/layer_types/2", "\"full_attention\""}, Rejected{"/mlp_layer_types/0", "\"moe\""},
        Rejected{"/rope_parameters/rope_type", "\"linear\""},
        Rejected{"/rope_parameters/type", "\"default\""},
        Rejected{"/rope_parameters/truncate", "false"},
        Rejected{"/rope_parameters/indexed_attention", R"({"rope_type": "default"})"},
        Rejected{"/rope_scaling", R"({"type": "yarn", "factor": 4})"},
        Rejected{"/original_max_position_embeddings", "4096"}));

// Values of the wrong type or out of range.
INSTANTIATE_TEST_SUITE_P(
    Malformed, ConfigRejects,
    testing::Values(
        Rejected{"/hidden_size", "72.0"}, Rejected{"/hidden_size", "true"},
        Rejected{"/hidden_size", "\"72\""}, Rejected{"/hidden_size", "null"},
        Rejected{"/hidden_size", "0"}, Rejected{"/hidden_size", "-72"},
        Rejected{"/hidden_size", "2147483648"}, Rejected{"/hidden_size", "18446744073709551615"},
        Rejected{"/num_hidden_layers", "10001"}, Rejected{"/q_lora_rank", "0"},
        Rejected{"/q_lora_rank", "null"}, Rejected{"/rms_norm_eps", "0"},
        Rejected{"/rms_norm_eps", "\"1e-6\""}, Rejected{"/norm_topk_prob", "1"},
        Rejected{"/routed_scaling_factor", "-2.5"}, Rejected{"/initializer_range", "-1"},
        Rejected{"/eos_token_id", "-1"}, Rejected{"/eos_token_id", "[1.5]"},
        Rejected{"/layer_types", "[]"}, Rejected{"/layer_types", "{}"},
        Rejected{"/mlp_layer_types", R"(["dense"])"}, Rejected{"/first_k_dense_replace", "-1"},
        Rejected{"/rope_parameters", "[]"}, Rejected{"/rope_parameters/rope_theta", "1.0"},
        Rejected{"/rope_parameters/factor", "0.5"}, Rejected{"/rope_parameters/factor", "null"},
        Rejected{"/rope_parameters/original_max_position_embeddings", "0"},
        Rejected{"/rope_parameters/original_max_position_embeddings", "24.0"},
        Rejected{"/rope_parameters/beta_fast", "0.5"}, Rejected{"/rope_parameters/beta_slow", "0"},
        Rejected{"/rope_parameters/mscale", "-1"},
        Rejected{"/rope_parameters/attention_factor", "0"}));

// Values that contradict others.
INSTANTIATE_TEST_SUITE_P(
    Inconsistent, ConfigRejects,
    testing::Values(Rejected{"/num_key_value_heads", "4"}, Rejected{"/head_dim", "20"},
                    Rejected{"/qk_head_dim", "16"}, Rejected{"/num_experts", "8"},
                    Rejected{"/num_local_experts", "8"}, Rejected{"/n_group", "5"},
                    Rejected{"/n_group", "12"}, Rejected{"/topk_group", "5"},
                    Rejected{"/num_experts_per_tok", "7"}, Rejected{"/n_shared_experts", "0"},
                    Rejected{"/moe_intermediate_size", "0"},
                    Rejected{"/index_n_heads", "2147483647"}));

TEST(ConfigRejects, SaysWhatWasExpectedAndFound) {
  EXPECT_EQ(refusal_with("/qk_rope_head_dim", 7),
            "c.json: /head_dim: expected 7 (nothing else is supported), found 16");
  Json odd = tiny();
  odd.erase("head_dim");
  odd.erase("qk_head_dim");
  odd["qk_rope_head_dim"] = 7;
  EXPECT_EQ(refusal(odd), "c.json: /qk_rope_head_dim: expected an even number, found 7");
  odd["qk_rope_head_dim"] = 34;
  EXPECT_EQ(refusal(odd),
            "c.json: /qk_rope_head_dim: expected at most index_head_dim = 32, found 34");
  EXPECT_EQ(refusal_with("/num_key_value_heads", 128),
            "c.json: /num_key_value_heads: expected 5, as num_attention_heads says, found 128");
  EXPECT_NE(refusal_with("/quantization_config", {{"quant_method", "fp8"}}).find("FP8"),
            std::string::npos);
}

TEST(ConfigRejects, DocumentsThatAreNoConfigs) {
  for (const char* text : {"[]", "null", "1", "\"x\"", "{}", R"({"model_type": null})"}) {
    EXPECT_NE(refusal(Json::parse(text)), "") << text;
  }
}

TEST(ConfigRejects, ConflictingThetas) {
  EXPECT_EQ(refusal_with("/rope_theta", 10000), "");
  EXPECT_EQ(
      refusal_with("/rope_theta", 500000),
      "c.json: /rope_parameters/rope_theta: expected 500000, as /rope_theta says, found 10000");
}

TEST(ConfigRejects, YarnWithoutItsFactor) {
  Json json = tiny();
  json["rope_parameters"].erase("factor");
  EXPECT_NE(refusal(json).find("/rope_parameters/factor"), std::string::npos);
}

TEST(ConfigRejects, OfficialFilesThatAskForMoreThanThereIs) {
  for (const char* text :
       {R"({"dim": 64, "dtype": "fp8"})", R"({"dim": 64, "score_func": "softmax"})",
        R"({"dim": 64, "hidden_size": 64})", R"({"dim": 64, "model_type": "deepseek_v3"})",
        R"({"dim": 64.0})", R"({"dim": 64, "q_lora_rank": 0})", R"({"dim": 64, "mscale": 0})",
        R"({"dim": 64, "n_expert_groups": 3})", R"({"dim": null})"}) {
    EXPECT_NE(refusal(Json::parse(text)), "") << text;
  }
}

/// `validate` guards configs that no file gave.
TEST(ConfigRejects, FieldsSetInCode) {
  const auto invalid = [](const std::function<void(ModelConfig&)>& change) {
    ModelConfig config = parse_model_config(tiny(), "").config;
    change(config);
    EXPECT_THROW(validate(config, "code"), Error);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  invalid([](ModelConfig& c) { c.mlp_layer_types.pop_back(); });
  invalid([&](ModelConfig& c) { c.rms_norm_eps = nan; });
  invalid([&](ModelConfig& c) { c.rope_parameters.factor = nan; });
  invalid([&](ModelConfig& c) { c.rope_parameters.rope_theta = nan; });
  invalid([&](ModelConfig& c) { c.rope_parameters.mscale = nan; });
  invalid([&](ModelConfig& c) { c.rope_parameters.attention_factor = nan; });
  invalid([&](ModelConfig& c) { c.routed_scaling_factor = nan; });
  invalid([](ModelConfig& c) { c.rope_parameters.beta_fast = c.rope_parameters.beta_slow; });
  invalid([](ModelConfig& c) { c.v_head_dim = 0; });
  invalid([](ModelConfig& c) { c.vocab_size = INT64_MAX; });
  invalid([](ModelConfig& c) { c.num_attention_heads = c.num_key_value_heads = INT64_MAX; });
}

}  // namespace
}  // namespace sparity::core
