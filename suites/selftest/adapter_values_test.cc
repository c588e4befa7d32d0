#include "src/core/error.h"
#include "src/core/strict_json.h"
#include "src/tensors/adapter.h"
#include "suites/selftest/golden.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>

namespace sparity::tensors {
namespace {

const core::TensorManifest& manifest() {
  static const Golden golden("left-padding");
  return golden.checkpoint.manifest;
}

core::AdapterConfig config_of(const char* json) {
  return core::read_adapter_config(nlohmann::json::parse(json), "config");
}

Adapter seeded(const char* json, std::uint64_t seed, const std::string& name, bool filled) {
  return seeded_adapter(config_of(json), manifest(), name, seed, "config", filled);
}

TEST(SeededAdapter, StartsAsPeftDoes) {
  const Adapter uniform = seeded(R"({"r": 64, "target_modules": ["o_proj"]})", 1, "a", false);
  const Adapter gaussian = seeded(
      R"({"r": 64, "target_modules": ["o_proj"], "init_lora_weights": "gaussian"})", 1, "a", false);
  for (const core::AdapterTensor& tensor : uniform.layout.tensors()) {
    const at::Tensor& values = uniform.tensors.at(tensor.name);
    EXPECT_EQ(values.scalar_type(), at::kFloat);
    if (!tensor.is_a) {
      EXPECT_EQ(values.abs().max().item().toDouble(), 0);
      continue;
    }
    const double bound = 1 / std::sqrt(static_cast<double>(tensor.shape[1]));
    EXPECT_LE(values.abs().max().item().toDouble(), bound);
    EXPECT_GT(values.abs().max().item().toDouble(), 0.99 * bound);
    EXPECT_NEAR(values.mean().item().toDouble(), 0, 0.05 * bound);
    EXPECT_NEAR(values.std().item().toDouble(), bound / std::sqrt(3.0), 0.03 * bound);
    const double spread = gaussian.tensors.at(tensor.name).std().item().toDouble();
    EXPECT_NEAR(spread, 1 / 64.0, 0.05 / 64);
  }
}

TEST(SeededAdapter, IsDecidedBySeedNameAndTensor) {
  constexpr const char* kConfig = R"({"target_modules": ["wk", "q_a_proj"]})";
  const Adapter first = seeded(kConfig, 1, "a", true);
  const Adapter again = seeded(kConfig, 1, "a", true);
  const Adapter fewer = seeded(R"({"target_modules": ["wk"]})", 1, "a", true);
  for (const auto& [name, values] : first.tensors) {
    EXPECT_TRUE(at::equal(values, again.tensors.at(name)));
    EXPECT_FALSE(at::equal(values, seeded(kConfig, 2, "a", true).tensors.at(name)));
    EXPECT_FALSE(at::equal(values, seeded(kConfig, 1, "b", true).tensors.at(name)));
  }
  for (const auto& [name, values] : fewer.tensors) {
    EXPECT_TRUE(at::equal(values, first.tensors.at(name)));
  }
  const std::string layer = "base_model.model.model.layers.";
  EXPECT_FALSE(at::equal(first.tensors.at(layer + "0.self_attn.q_a_proj.lora_A.weight"),
                         first.tensors.at(layer + "1.self_attn.q_a_proj.lora_A.weight")));
}

TEST(SeededAdapter, FilledHasBothFactors) {
  const Adapter adapter = seeded(R"({"r": 64, "target_modules": ["o_proj"]})", 1, "a", true);
  for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
    const double spread = adapter.tensors.at(tensor.name).std().item().toDouble();
    if (!tensor.is_a) {
      EXPECT_NEAR(spread, 0.1, 0.01);
    }
  }
}

TEST(Adapter, NamesInMemoryAreTheFilesWithTheAdaptersName) {
  EXPECT_EQ(name_in_memory("base_model.model.lm_head.lora_A.weight", "llm"),
            "base_model.model.lm_head.lora_A.llm.weight");
  EXPECT_THROW(name_in_memory("base_model.model.lm_head.lora_A", "llm"), core::Error);
}

TEST(Adapter, LeavesGatherTheGradientsOfTheirPairs) {
  for (const char* json : {R"({"r": 2, "target_modules": ["wk"]})",
                           R"({"r": 2, "target_parameters": ["gate_up_proj", "down_proj"]})"}) {
    const Adapter adapter = seeded(json, 3, "a", true);
    const Adapter leaves = as_leaves(adapter, at::kDouble);
    at::Tensor sum = at::zeros({}, at::kDouble);
    for (const auto& [parameter, list] : pairs_of({leaves})) {
      ASSERT_EQ(list.size(), 1U);
      sum = sum + at::matmul(list.front().b, list.front().a).sum();
    }
    sum.backward();
    for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
      const at::Tensor& leaf = leaves.tensors.at(tensor.name);
      EXPECT_TRUE(leaf.is_leaf() && leaf.requires_grad());
      EXPECT_FALSE(adapter.tensors.at(tensor.name).requires_grad());
      ASSERT_TRUE(leaf.grad().defined()) << tensor.name;
      // Every number of a factor belongs to some pair.
      EXPECT_TRUE(leaf.grad().ne(0).all().item().toBool()) << tensor.name;
    }
    const Adapter frozen = as_leaves(adapter, at::kFloat, false);
    for (const auto& [name, tensor] : frozen.tensors) {
      EXPECT_FALSE(tensor.requires_grad());
      EXPECT_NE(tensor.const_data_ptr(), adapter.tensors.at(name).const_data_ptr());
      EXPECT_TRUE(tensor.equal(adapter.tensors.at(name)));
    }
  }
}

TEST(Adapter, PairsOfSeveralStandInTheirOrder) {
  const AdapterPairs pairs =
      pairs_of({seeded(R"({"target_modules": ["wk"], "lora_dropout": 0.25})", 1, "x", true),
                seeded(R"({"target_modules": ["wk", "o_proj"]})", 1, "b", true)});
  const auto& both = pairs.at("model.layers.0.self_attn.indexer.wk.weight");
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[0].name, "x/model.layers.0.self_attn.indexer.wk.weight");
  EXPECT_EQ(both[0].dropout, 0.25);
  EXPECT_EQ(both[1].name, "b/model.layers.0.self_attn.indexer.wk.weight");
  EXPECT_EQ(both[1].dropout, 0);
  EXPECT_EQ(pairs.at("model.layers.0.self_attn.o_proj.weight").size(), 1U);
}

LowRankPair dropped(double dropout, const std::string& name) {
  LowRankPair pair;
  pair.dropout = dropout;
  pair.name = name;
  return pair;
}

TEST(DropoutMask, KeepsTheShareThatItSays) {
  for (const double dropout : {0.0, 0.1, 0.5, 0.9}) {
    const at::Tensor kept =
        dropout_mask(dropped(dropout, "a/w"), {.seed = 7, .step = 3}, {4, 50, 1000});
    EXPECT_EQ(kept.scalar_type(), at::kBool);
    EXPECT_EQ(kept.sizes(), at::IntArrayRef({4, 50, 1000}));
    const double share = kept.to(at::kDouble).mean().item().toDouble();
    // Four standard deviations of the mean of 200,000.
    const double allowed = 4 * std::sqrt(dropout * (1 - dropout) / 200'000);
    EXPECT_NEAR(share, 1 - dropout, allowed);
    // Neighbours along a row and from row to row are independent.
    const at::Tensor centred = kept.to(at::kDouble) - share;
    for (const std::int64_t axis : {0, 1, 2}) {
      const std::int64_t rest = kept.size(axis) - 1;
      const double covariance =
          (centred.narrow(axis, 0, rest) * centred.narrow(axis, 1, rest)).mean().item().toDouble();
      EXPECT_NEAR(covariance, 0, 5 * dropout * (1 - dropout) / std::sqrt(150'000.0));
    }
  }
}

TEST(DropoutMask, IsDecidedByTheDrawAndThePairAlone) {
  const LowRankPair pair = dropped(0.5, "a/w");
  const DropoutDraw draw = {.seed = 7, .step = 3, .micro_batch = 1};
  const at::Tensor kept = dropout_mask(pair, draw, {2, 64, 300});
  EXPECT_TRUE(at::equal(kept, dropout_mask(pair, draw, {2, 64, 300})));
  // Element by element: the shape only says how many there are.
  EXPECT_TRUE(at::equal(kept.view({128, 300}), dropout_mask(pair, draw, {128, 300})));
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(kept, dropout_mask(pair, draw, {2, 64, 300})));
  at::set_num_threads(threads);
  for (const DropoutDraw& other : {DropoutDraw{8, 3, 1}, DropoutDraw{7, 4, 1}, DropoutDraw{7, 3, 0},
                                   DropoutDraw{7, 1, 3}, DropoutDraw{7, 31, 1}}) {
    EXPECT_FALSE(at::equal(kept, dropout_mask(pair, other, {2, 64, 300})));
  }
  EXPECT_FALSE(at::equal(kept, dropout_mask(dropped(0.5, "b/w"), draw, {2, 64, 300})));
}

}  // namespace
}  // namespace sparity::tensors
