// The reference's MLP, router, experts and loss in float64 against plain loops.

#include "reference/model/loss.h"
#include "reference/model/mlp.h"
#include "reference/model/moe.h"
#include "reference/model/router.h"
#include "reference/scalar/linear.h"
#include "reference/scalar/loss.h"
#include "reference/scalar/mlp.h"
#include "reference/scalar/router.h"
#include "src/core/error.h"
#include "suites/selftest/tensor_values.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace sparity::selftest {
namespace {

namespace model = reference::model;
namespace scalar = reference::scalar;
using core::Recipe;

// --- experts ------------------------------------------------------------------------------------

model::MlpWeights random_mlp(std::int64_t inner, std::int64_t width, unsigned seed) {
  return {random_tensor({inner, width}, seed), random_tensor({inner, width}, seed + 1),
          random_tensor({width, inner}, seed + 2)};
}

Doubles scalar_mlp(const at::Tensor& x, const model::MlpWeights& weights) {
  return scalar::mlp(doubles_of(x), doubles_of(weights.gate_proj.weight),
                     doubles_of(weights.up_proj.weight), doubles_of(weights.down_proj.weight));
}

TEST(ReferenceScalar, MlpAgreesUnderBothRecipes) {
  const at::Tensor x = random_tensor({5}, 30);
  const model::MlpWeights weights = random_mlp(7, 5, 31);
  expect_close(model::mlp(x, weights, kOfficial), scalar_mlp(x, weights));
  expect_close(model::mlp(x, weights, Recipe::kHf), scalar_mlp(x, weights));
}

core::ModelConfig router_config(bool normalise) {
  core::ModelConfig config;
  config.n_routed_experts = 12;
  config.n_group = 4;
  config.topk_group = 2;
  config.num_experts_per_tok = 3;
  config.norm_topk_prob = normalise;
  return config;
}

scalar::RouterRule rule_of(const core::ModelConfig& config) {
  return {.n_group = static_cast<std::size_t>(config.n_group),
          .topk_group = static_cast<std::size_t>(config.topk_group),
          .num_experts_per_tok = static_cast<std::size_t>(config.num_experts_per_tok),
          .norm_topk_prob = config.norm_topk_prob,
          .routed_scaling_factor = config.routed_scaling_factor};
}

TEST(ReferenceScalar, RoutingAgreesWithBiasesThatTurnScoresNegative) {
  const at::Tensor x = random_tensor({17, 5}, 40);
  const at::Tensor weight = random_tensor({12, 5}, 41);
  const at::Tensor bias = random_tensor({12}, 42) - 1.5;
  for (const bool normalise : {true, false}) {
    const core::ModelConfig config = router_config(normalise);
    const model::Routing routing = model::route(x, weight, bias, config, kOfficial);
    Doubles scores;
    Doubles weights;
    Integers indices;
    for (std::int64_t token = 0; token < 17; ++token) {
      const auto row = scalar::route(scalar::linear(doubles_of(weight), doubles_of(x[token])),
                                     doubles_of(bias), rule_of(config));
      append(scores, row.scores);
      append(weights, row.weights);
      indices.insert(indices.end(), row.indices.begin(), row.indices.end());
    }
    expect_close(routing.scores, scores);
    EXPECT_EQ(integers_of(routing.indices), indices);
    expect_close(routing.weights, weights);
  }
}

TEST(ReferenceScalar, RoutingTiesGoToTheLowerExpertAndGroup) {
  // All scores are ½ and all biases equal: groups 0 and 1, then experts 0, 1, 2.
  const core::ModelConfig config = router_config(true);
  const Integers first_three = {0, 1, 2};
  EXPECT_EQ(scalar::route(Doubles(12, 0.0), Doubles(12, -0.5), rule_of(config)).indices,
            first_three);
  const at::Tensor scores = at::full({1, 12}, 0.5, at::kDouble);
  EXPECT_EQ(integers_of(model::select_experts(scores, at::full({12}, -0.5, at::kDouble), config)),
            first_three);
}

TEST(ReferenceScalar, ExpertsOutsideTheBestGroupsStayOutWhenAllElseIsNegative) {
  // Group 0 (experts 0–2) has the best pair, group 3 the second; expert 4 alone beats all of
  // group 3.
  Doubles bias(12, -3.0);
  bias[0] = -0.7;
  bias[1] = -0.7;
  bias[4] = -0.8;
  bias[9] = -1.2;
  bias[10] = -1.2;
  const core::ModelConfig config = router_config(true);
  const Integers expected = {0, 1, 9};
  EXPECT_EQ(scalar::route(Doubles(12, 0.0), bias, rule_of(config)).indices, expected);
  const at::Tensor scores = at::full({1, 12}, 0.5, at::kDouble);
  EXPECT_EQ(integers_of(model::select_experts(scores, tensor_of(bias), config)), expected);
}

TEST(ReferenceScalar, RoutedExpertsSumWeightedOutputsTokenByToken) {
  const at::Tensor x = random_tensor({2, 3, 5}, 50);
  const at::Tensor indices =
      at::tensor(Integers{3, 0, 1, 3, 0, 3, 0, 1, 3, 1, 1, 0}).view({2, 3, 2});  // expert 2: none
  const at::Tensor weights = random_tensor({2, 3, 2}, 51);
  std::vector<model::MlpWeights> experts;
  for (unsigned expert = 0; expert < 4; ++expert) {
    experts.push_back(random_mlp(3, 5, 60 + 10 * expert));
  }
  Doubles expected;
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t s = 0; s < 3; ++s) {
      Doubles sum(5, 0.0);
      for (std::int64_t slot = 0; slot < 2; ++slot) {
        const auto expert = static_cast<std::size_t>(indices[b][s][slot].item<std::int64_t>());
        const Doubles output = scalar_mlp(x[b][s], experts[expert]);
        for (std::size_t d = 0; d < 5; ++d) {
          sum[d] += weights[b][s][slot].item<double>() * output[d];
        }
      }
      append(expected, sum);
    }
  }
  expect_close(model::routed_experts(x, indices, weights, experts, kOfficial), expected);
}

// --- loss ---------------------------------------------------------------------------------------

TEST(ReferenceScalar, LmLossIsTheMeanOfCountedRows) {
  const at::Tensor logits = random_tensor({2, 4, 9}, 70) * 5;
  const at::Tensor labels = at::tensor(Integers{-100, 3, -100, 8, -100, 2, 5, -100}).view({2, 4});
  const at::Tensor tokens = at::tensor(Integers{1, 1, 1, 1, 0, 1, 1, 0}).view({2, 4}).to(at::kBool);
  const auto result = model::lm_loss(logits, labels, tokens);
  EXPECT_EQ(result.counted, 3);
  EXPECT_EQ(result.ignored, 1);  // row 1, label 2: its predicting position is padding
  const double expected = (scalar::cross_entropy(doubles_of(logits[0][0]), 3) +
                           scalar::cross_entropy(doubles_of(logits[0][2]), 8) +
                           scalar::cross_entropy(doubles_of(logits[1][1]), 5)) /
                          3.0;
  expect_close(result.loss, {expected});
}

TEST(ReferenceScalar, LmLossRefusesRowsWithoutLabels) {
  const at::Tensor none = at::full({1, 3}, -100, at::kLong);
  EXPECT_THROW(model::lm_loss(at::zeros({1, 3, 4}), none, at::ones({1, 3}, at::kBool)),
               core::Error);
}

}  // namespace
}  // namespace sparity::selftest
