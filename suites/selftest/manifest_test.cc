#include "src/core/error.h"
#include "src/core/tensor_manifest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace sparity::core {
namespace {

ModelConfig named_config(const std::string& name) {
  return read_model_config(SPARITY_SOURCE_DIR "/fixtures/configs/" + name + ".json").config;
}

std::int64_t count_role(const TensorManifest& manifest, ParameterRole role) {
  std::int64_t count = 0;
  for (const ParameterSpec& spec : manifest.parameters()) {
    count += spec.role == role ? spec.numel() : 0;
  }
  return count;
}

std::int64_t count_prefix(const TensorManifest& manifest, const std::string& prefix) {
  std::int64_t count = 0;
  for (const ParameterSpec& spec : manifest.parameters()) {
    count += spec.name.starts_with(prefix) ? spec.numel() : 0;
  }
  return count;
}

// Spec 1.1 and 1.2. The fork's figures leave the router biases out, as does what transformers 5.23
// counts in `parameters()` of the three small models (the bias is a buffer there: "tiny" is its
// figure). The 671B figure, 671,877,944,064, has its 58 * 256 = 14,848 biases in.
struct Count {
  const char* config;
  std::int64_t without_biases;
  std::int64_t indexer;
};

class ParameterCount : public testing::TestWithParam<Count> {};

TEST_P(ParameterCount, IsThePublishedOne) {
  const ModelConfig config = named_config(GetParam().config);
  const TensorManifest manifest(config);
  const std::int64_t biases = count_role(manifest, ParameterRole::kRouterBias);
  EXPECT_EQ(biases,
            config.n_routed_experts * std::ranges::count(config.mlp_layer_types, MlpType::kSparse));
  EXPECT_EQ(manifest.parameter_count() - biases, GetParam().without_biases);
  EXPECT_EQ(manifest.indexer_parameter_count(), GetParam().indexer);
}

INSTANTIATE_TEST_SUITE_P(
    Configs, ParameterCount,
    testing::Values(Count{"tiny", 494'568, 116'032}, Count{"fork-tiny", 110'368, 12'928},
                    Count{"fork-small", 4'789'760, 336'384},
                    Count{"fork-medium", 34'966'943'552 - 29 * 64, 427'827'200},
                    Count{"671b", 671'877'944'064 - 58 * 256, 851'524'864}),
    [](const auto& test) {
      std::string name = test.param.config;
      std::erase(name, '-');
      return name;
    });

TEST(TensorManifest, CountsThePartsOfThe671BModel) {
  const ModelConfig config = named_config("671b");
  const TensorManifest manifest(config);
  EXPECT_EQ(manifest.parameter_count(), 671'877'944'064);
  const std::int64_t indexer = count_prefix(manifest, "model.layers.0.self_attn.indexer.");
  EXPECT_EQ(indexer, 13'959'424);
  EXPECT_EQ(count_prefix(manifest, "model.layers.0.self_attn.") - indexer, 187'107'328);
  EXPECT_EQ(count_prefix(manifest, "model.layers.0.mlp."), 396'361'728);
  EXPECT_EQ(count_prefix(manifest, "model.layers.3.mlp."), 11'320'164'608);
}

TEST(TensorManifest, ListsEachNameOnceInCheckpointOrder) {
  const TensorManifest manifest(named_config("tiny"));
  const auto& parameters = manifest.parameters();
  EXPECT_EQ(parameters.front().name, "model.embed_tokens.weight");
  EXPECT_EQ(parameters[parameters.size() - 2].name, "model.norm.weight");
  EXPECT_EQ(parameters.back().name, "lm_head.weight");
  // 3 outside the layers; a layer has 14 beside its MLP; 3 dense; 2 + 3 · 12 + 3 with experts.
  EXPECT_EQ(parameters.size(), 3U + 4U * 14U + 3U + 3U * 41U);
  for (const ParameterSpec& spec : parameters) {
    EXPECT_EQ(&manifest.at(spec.name), &spec);
  }
  EXPECT_FALSE(manifest.contains("model.layers.0.mlp.gate.weight"));
  EXPECT_TRUE(manifest.contains("model.layers.1.mlp.gate.e_score_correction_bias"));
  EXPECT_THROW(manifest.at("model.layers.4.input_layernorm.weight"), Error);
}

TEST(TensorManifest, GivesEveryShapeOfALayer) {
  const TensorManifest manifest(named_config("tiny"));
  const auto shape = [&](const std::string& name) {
    return manifest.at("model.layers.1." + name).shape;
  };
  using Shape = std::vector<std::int64_t>;
  EXPECT_EQ(shape("input_layernorm.weight"), (Shape{72}));
  EXPECT_EQ(shape("self_attn.q_a_proj.weight"), (Shape{44, 72}));
  EXPECT_EQ(shape("self_attn.q_a_layernorm.weight"), (Shape{44}));
  EXPECT_EQ(shape("self_attn.q_b_proj.weight"), (Shape{5 * 36, 44}));
  EXPECT_EQ(shape("self_attn.kv_a_proj_with_mqa.weight"), (Shape{28 + 16, 72}));
  EXPECT_EQ(shape("self_attn.kv_a_layernorm.weight"), (Shape{28}));
  EXPECT_EQ(shape("self_attn.kv_b_proj.weight"), (Shape{5 * 34, 28}));
  EXPECT_EQ(shape("self_attn.o_proj.weight"), (Shape{72, 5 * 14}));
  EXPECT_EQ(shape("self_attn.indexer.wq_b.weight"), (Shape{18 * 32, 44}));
  EXPECT_EQ(shape("self_attn.indexer.wk.weight"), (Shape{32, 72}));
  EXPECT_EQ(shape("self_attn.indexer.k_norm.bias"), (Shape{32}));
  EXPECT_EQ(shape("self_attn.indexer.weights_proj.weight"), (Shape{18, 72}));
  EXPECT_EQ(shape("mlp.gate.weight"), (Shape{12, 72}));
  EXPECT_EQ(shape("mlp.experts.11.down_proj.weight"), (Shape{72, 26}));
  EXPECT_EQ(shape("mlp.shared_experts.up_proj.weight"), (Shape{26, 72}));
  EXPECT_EQ(manifest.at("model.layers.0.mlp.down_proj.weight").shape, (Shape{72, 136}));
}

TEST(TensorManifest, KeepsWhatEachRecipeKeepsInFloat32) {
  const TensorManifest manifest(named_config("tiny"));
  const auto stored = [&](const std::string& name, Dtype activation, Recipe recipe) {
    return stored_dtype(manifest.at(name), activation, recipe);
  };
  const std::string layer = "model.layers.1.";
  const std::string bias = layer + "mlp.gate.e_score_correction_bias";
  EXPECT_EQ(stored(bias, Dtype::kBF16, Recipe::kOfficial), Dtype::kF32);
  EXPECT_EQ(stored(bias, Dtype::kBF16, Recipe::kHf), Dtype::kF32);
  for (const std::string& name :
       {layer + "input_layernorm.weight", layer + "self_attn.kv_a_layernorm.weight",
        layer + "self_attn.indexer.k_norm.weight", layer + "self_attn.indexer.k_norm.bias",
        layer + "self_attn.indexer.weights_proj.weight", std::string("model.norm.weight"),
        std::string("lm_head.weight")}) {
    EXPECT_EQ(stored(name, Dtype::kBF16, Recipe::kOfficial), Dtype::kF32);
    EXPECT_EQ(stored(name, Dtype::kBF16, Recipe::kHf), Dtype::kBF16);
  }
  EXPECT_EQ(stored(layer + "mlp.gate.weight", Dtype::kBF16, Recipe::kOfficial), Dtype::kBF16);
  for (const ParameterSpec& spec : manifest.parameters()) {
    EXPECT_EQ(stored_dtype(spec, Dtype::kF64, Recipe::kOfficial), Dtype::kF64);
    EXPECT_EQ(stored_dtype(spec, Dtype::kF32, Recipe::kHf), Dtype::kF32);
  }
}

TEST(TensorManifest, GivesEveryRole) {
  const TensorManifest manifest(named_config("tiny"));
  for (const ParameterRole role :
       {ParameterRole::kEmbedding, ParameterRole::kHead, ParameterRole::kNormGain,
        ParameterRole::kAttention, ParameterRole::kIndexer, ParameterRole::kIndexerNormGain,
        ParameterRole::kIndexerNormBias, ParameterRole::kRouter, ParameterRole::kRouterBias,
        ParameterRole::kMlp, ParameterRole::kExpert, ParameterRole::kSharedExpert}) {
    EXPECT_GT(count_role(manifest, role), 0);
  }
}

TEST(TensorManifest, KnowsTheMtpLayerByItsNumber) {
  const TensorManifest manifest(named_config("671b"));
  EXPECT_TRUE(manifest.is_mtp("model.layers.61.eh_proj.weight"));
  EXPECT_FALSE(manifest.is_mtp("model.layers.6.input_layernorm.weight"));
  EXPECT_FALSE(manifest.is_mtp("model.layers.610.x"));
}

TEST(TensorManifest, RefusesMoreParametersThanItCanCount) {
  ModelConfig config = named_config("fork-tiny");
  config.vocab_size = config.hidden_size = 2147483647;
  EXPECT_THROW(TensorManifest{config}, Error);
}

}  // namespace
}  // namespace sparity::core
