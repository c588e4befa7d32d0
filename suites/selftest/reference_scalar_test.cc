// The reference's tensor code in float64 against plain loops, primitive by primitive, at tiny odd
// sizes; and both against closed forms. A misunderstanding that both tensor implementations of the
// model share (an axis, a broadcast, a tie) shows here.

#include "reference/model/attention.h"
#include "reference/model/indexer.h"
#include "reference/model/loss.h"
#include "reference/model/mask.h"
#include "reference/model/mlp.h"
#include "reference/model/moe.h"
#include "reference/model/norm.h"
#include "reference/model/rope.h"
#include "reference/model/router.h"
#include "reference/scalar/attention.h"
#include "reference/scalar/indexer.h"
#include "reference/scalar/linear.h"
#include "reference/scalar/loss.h"
#include "reference/scalar/mlp.h"
#include "reference/scalar/norm.h"
#include "reference/scalar/rope.h"
#include "reference/scalar/router.h"
#include "src/core/error.h"
#include "suites/selftest/tensor_values.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <stdexcept>
#include <vector>

namespace sparity::selftest {
namespace {

namespace model = reference::model;
namespace scalar = reference::scalar;
using core::Recipe;

constexpr auto kOfficial = Recipe::kOfficial;

std::vector<float> floats_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

core::ModelConfig released_config() {
  core::ModelConfig config;  // 671B
  config.rope_parameters = {.rope_type = core::RopeType::kYarn,
                            .rope_theta = 10000.0,
                            .factor = 40.0,
                            .original_max_position_embeddings = 4096,
                            .beta_fast = 32.0,
                            .beta_slow = 1.0,
                            .mscale = 1.0,
                            .mscale_all_dim = 1.0,
                            .attention_factor = {}};
  return config;
}

// --- norms and linear ---------------------------------------------------------------------------

TEST(ReferenceScalar, LinearAgrees) {
  const at::Tensor x = random_tensor({7}, 1);
  const at::Tensor weight = random_tensor({5, 7}, 2);
  expect_close(model::linear(x, weight), scalar::linear(doubles_of(weight), doubles_of(x)));
}

TEST(ReferenceScalar, RmsNormAgreesUnderBothRecipes) {
  const at::Tensor x = random_tensor({3, 11}, 3) * 0.01;  // small, so that eps counts
  const at::Tensor weight = random_tensor({11}, 4);
  Doubles expected;
  for (std::int64_t row = 0; row < 3; ++row) {
    append(expected, scalar::rms_norm(doubles_of(x[row]), doubles_of(weight), 1e-4));
  }
  expect_close(model::rms_norm(x, weight, 1e-4, kOfficial), expected);
  expect_close(model::rms_norm(x, weight, 1e-4, Recipe::kHf), expected);
}

TEST(ReferenceScalar, AddRmsNormIsTheNormOfTheSum) {
  const at::Tensor x = random_tensor({9}, 5);
  const at::Tensor residual = random_tensor({9}, 6);
  const at::Tensor weight = random_tensor({9}, 7);
  const auto both = model::add_rms_norm(x, residual, weight, 1e-6, kOfficial);
  const Doubles sum = doubles_of(x + residual);
  expect_close(both.residual, sum);
  expect_close(both.normed, scalar::rms_norm(sum, doubles_of(weight), 1e-6));
}

TEST(ReferenceScalar, LayerNormAgreesWhereEpsCounts) {
  const at::Tensor x = random_tensor({13}, 8) * 1e-3 + 2.0;
  const at::Tensor weight = random_tensor({13}, 9);
  const at::Tensor bias = random_tensor({13}, 10);
  expect_close(model::layer_norm(x, weight, bias, 1e-6),
               scalar::layer_norm(doubles_of(x), doubles_of(weight), doubles_of(bias), 1e-6));
}

// --- rope ---------------------------------------------------------------------------------------

/// Two powers may differ by an ulp of float32, and no more.
void expect_within_one_ulp(const std::vector<float>& found, const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_GE(found[i], std::nextafter(expected[i], 0.0F)) << "pair " << i;
    EXPECT_LE(found[i], std::nextafter(expected[i], 2.0F)) << "pair " << i;
  }
}

TEST(ReferenceScalar, InverseFrequenciesAgreeWithinOneUlp) {
  core::ModelConfig config;
  config.qk_rope_head_dim = 22;
  config.rope_parameters.rope_theta = 5000.0;
  expect_within_one_ulp(floats_of(model::inverse_frequencies(config)),
                        scalar::inverse_frequencies(5000.0, 22));
}

TEST(ReferenceScalar, ReleasedYarnFrequenciesAreThoseOfTheSpecification) {
  // Spec 2.5, pairs 0…31 of the 671B model.
  const std::vector<float> published = {
      1.000000000e+0F, 7.498942018e-1F, 5.623413324e-1F, 4.216965139e-1F, 3.162277639e-1F,
      2.371373624e-1F, 1.778279394e-1F, 1.333521456e-1F, 1.000000015e-1F, 7.498941571e-2F,
      5.623412877e-2F, 3.900692612e-2F, 2.687936090e-2F, 1.837814413e-2F, 1.244795602e-2F,
      8.334509097e-3F, 5.500000436e-3F, 3.561997321e-3F, 2.249365207e-3F, 1.370513462e-3F,
      7.905694074e-4F, 4.149904125e-4F, 1.778279402e-4F, 3.333803761e-5F, 2.500000119e-5F,
      1.874735426e-5F, 1.405853254e-5F, 1.054241238e-5F, 7.905694474e-6F, 5.928434803e-6F,
      4.445698323e-6F, 3.333803761e-6F};
  EXPECT_EQ(floats_of(model::inverse_frequencies(released_config())), published);
  const scalar::Yarn yarn{.factor = 40.0,
                          .original_max_position_embeddings = 4096.0,
                          .beta_fast = 32.0,
                          .beta_slow = 1.0};
  expect_within_one_ulp(scalar::yarn_inverse_frequencies(10000.0, 64, yarn), published);
}

TEST(ReferenceScalar, ReleasedSoftmaxScaleIsThatOfTheSpecification) {
  EXPECT_DOUBLE_EQ(model::softmax_scale(released_config()), 0.1352337788608801);
  EXPECT_DOUBLE_EQ(scalar::yarn_softmax_scale(192.0, 40.0, 1.0), 0.1352337788608801);
  EXPECT_DOUBLE_EQ(model::attention_factor(released_config()), 1.0);
}

TEST(ReferenceScalar, MscaleKeysDecideScaleAndFactorSeparately) {
  core::ModelConfig config = released_config();
  config.rope_parameters.mscale = 0.7;
  config.rope_parameters.mscale_all_dim = 1.3;
  EXPECT_DOUBLE_EQ(model::softmax_scale(config), scalar::yarn_softmax_scale(192.0, 40.0, 1.3));
  EXPECT_DOUBLE_EQ(model::attention_factor(config),
                   scalar::mscale(40.0, 0.7) / scalar::mscale(40.0, 1.3));
  config.rope_parameters.mscale.reset();
  EXPECT_DOUBLE_EQ(model::attention_factor(config), 1.3688879454113936);
  config.rope_parameters.mscale_all_dim.reset();
  EXPECT_DOUBLE_EQ(model::softmax_scale(config), 1.0 / std::sqrt(192.0));
  config.rope_parameters.attention_factor = 1.25;
  EXPECT_EQ(model::attention_factor(config), 1.25);
  config.rope_parameters.rope_type = core::RopeType::kDefault;
  EXPECT_EQ(model::attention_factor(config), 1.0);
}

/// A configuration whose YaRN ramp is live within 10 components, and rows at far-apart positions.
struct RopeCase {
  core::ModelConfig config = released_config();
  at::Tensor positions = at::tensor(Integers{0, 3, 117, 4099, 5, 6}).view({2, 3});
  at::Tensor x = random_tensor({2, 3, 3, 10}, 11);  // [B, S, heads, Dr]
  std::vector<float> frequencies;
  model::RotaryTable table;

  RopeCase() {
    config.qk_rope_head_dim = 10;
    config.rope_parameters.original_max_position_embeddings = 24;
    config.rope_parameters.attention_factor = 1.25;
    frequencies = floats_of(model::inverse_frequencies(config));
    table = model::rotary_table(config, positions, at::kDouble, kOfficial);
  }

  template <typename Rotate>
  Doubles expected(Rotate rotate) const {
    Doubles all;
    for (std::int64_t b = 0; b < 2; ++b) {
      for (std::int64_t s = 0; s < 3; ++s) {
        for (std::int64_t h = 0; h < 3; ++h) {
          const auto position = static_cast<double>(positions[b][s].item<std::int64_t>());
          append(all, rotate(doubles_of(x[b][s][h]), position, frequencies, 1.25));
        }
      }
    }
    return all;
  }
};

TEST(ReferenceScalar, RotationsAgreeInBothLayouts) {
  const RopeCase rope;
  expect_close(model::rotate_interleaved(rope.x, rope.table),
               rope.expected(scalar::rotate_interleaved));
  expect_close(model::rotate_half_split(rope.x, rope.table),
               rope.expected(scalar::rotate_half_split));
}

TEST(ReferenceScalar, RotationAtPositionZeroIsTheIdentity) {
  const Doubles x = {1.5, -2.0, 0.25, 3.0};
  const std::vector<float> frequencies = {1.0F, 0.01F};
  EXPECT_EQ(scalar::rotate_interleaved(x, 0.0, frequencies, 1.0), x);
  EXPECT_EQ(scalar::rotate_half_split(x, 0.0, frequencies, 1.0), x);
  core::ModelConfig config;
  config.qk_rope_head_dim = 4;
  const auto table =
      model::rotary_table(config, at::zeros({1, 1}, at::kLong), at::kDouble, kOfficial);
  EXPECT_EQ(doubles_of(model::rotate_interleaved(tensor_of(x).view({1, 1, 1, 4}), table)), x);
  EXPECT_EQ(doubles_of(model::rotate_half_split(tensor_of(x).view({1, 1, 1, 4}), table)), x);
}

TEST(ReferenceScalar, QuarterTurnMovesEachPairTheRightWay) {
  // A phase of f32(π/2): (1, 0) turns to (0, 1) within float32's error in the phase.
  const std::vector<float> quarter = {1.57079637F, 1.57079637F};
  const Doubles interleaved = scalar::rotate_interleaved(Doubles{1, 0, 0, 1}, 1.0, quarter, 1.0);
  const Doubles half_split = scalar::rotate_half_split(Doubles{1, 0, 0, 1}, 1.0, quarter, 1.0);
  const Doubles expected_interleaved = {0, 1, -1, 0};
  const Doubles expected_half_split = {0, -1, 1, 0};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(interleaved[i], expected_interleaved[i], 1e-7);
    EXPECT_NEAR(half_split[i], expected_half_split[i], 1e-7);
  }
}

// --- indexer ------------------------------------------------------------------------------------

TEST(ReferenceScalar, HadamardAgreesAndKeepsProducts) {
  const at::Tensor x = random_tensor({8}, 12);
  const at::Tensor y = random_tensor({8}, 13);
  expect_close(model::hadamard(x), scalar::hadamard(doubles_of(x)));
  expect_close(model::hadamard(model::hadamard(x)), doubles_of(x));
  expect_close((model::hadamard(x) * model::hadamard(y)).sum(), doubles_of((x * y).sum()));
}

TEST(ReferenceScalar, HadamardRefusesOtherWidths) {
  EXPECT_THROW(scalar::hadamard(Doubles{1, 2, 3}), std::invalid_argument);
  EXPECT_THROW(model::hadamard(tensor_of({1, 2, 3})), core::Error);
}

TEST(ReferenceScalar, IndexScoresAgreeAndMaskedKeysAreMinusInfinity) {
  const at::Tensor q = random_tensor({2, 3, 5, 4}, 14);  // [B, S, Hi, Di]
  const at::Tensor k = random_tensor({2, 7, 4}, 15);     // [B, T, Di]
  const at::Tensor w = random_tensor({2, 3, 5}, 16);     // [B, S, Hi]
  const at::Tensor valid = random_tensor({2, 3, 7}, 17) > 0;
  Doubles expected;
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t s = 0; s < 3; ++s) {
      for (std::int64_t t = 0; t < 7; ++t) {
        const double score =
            scalar::index_score(doubles_of(q[b][s]), doubles_of(k[b][t]), doubles_of(w[b][s]));
        expected.push_back(valid[b][s][t].item<bool>() ? score : -kInfinity);
      }
    }
  }
  expect_close(model::index_scores(q, k, w, valid), expected);
}

TEST(ReferenceScalar, TopkBreaksTiesByIndexAndSignedZerosAreEqual) {
  const Doubles scores = {0.0, -0.0, 2.0, -0.0, 2.0, 0.0, -1.0};
  const Integers expected = {2, 4, 0, 1, 3};
  EXPECT_EQ(scalar::topk_indices(scores, 5), expected);
  EXPECT_EQ(integers_of(model::topk_indices(tensor_of(scores).view({1, 1, 7}), 5)), expected);
}

TEST(ReferenceScalar, TopkEndsWithMinusOneWhenValidKeysRunOut) {
  const Doubles scores = {-kInfinity, -3.0, -kInfinity, 1.0, -kInfinity};
  const Integers expected = {3, 1, -1, -1};
  EXPECT_EQ(scalar::topk_indices(scores, 4), expected);
  EXPECT_EQ(integers_of(model::topk_indices(tensor_of(scores).view({1, 1, 5}), 4)), expected);
  const Doubles none(3, -kInfinity);
  const Integers nothing = {-1, -1, -1};
  EXPECT_EQ(scalar::topk_indices(none, 9), nothing);
  EXPECT_EQ(integers_of(model::topk_indices(tensor_of(none).view({1, 1, 3}), 9)), nothing);
}

TEST(ReferenceScalar, TopkAgreesOnLongRowsFullOfTies) {
  // 300 keys, 9 distinct values: far beyond the sizes that sorting routines treat specially.
  const at::Tensor scores = (random_tensor({2, 3, 300}, 18) * 2).round().clamp(-4, 4) * 0.5;
  Integers expected;
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t s = 0; s < 3; ++s) {
      const Integers row = scalar::topk_indices(doubles_of(scores[b][s]), 70);
      expected.insert(expected.end(), row.begin(), row.end());
    }
  }
  EXPECT_EQ(integers_of(model::topk_indices(scores, 70)), expected);
  EXPECT_EQ(integers_of(model::topk_indices(scores.to(at::kFloat), 70)), expected);
}

// --- masks and attention ------------------------------------------------------------------------

TEST(ReferenceScalar, ValidPairsAreCausalTokensThatThePairMaskAllows) {
  tensors::Inputs inputs;
  inputs.input_ids = at::zeros({2, 4}, at::kLong);
  inputs.token_mask = at::tensor(Integers{0, 1, 1, 1, 1, 1, 1, 0}).view({2, 4}).to(at::kBool);
  inputs.pair_mask = at::ones({2, 4, 4}, at::kBool);
  inputs.pair_mask[0][3][1].fill_(false);
  const Integers expected = {0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1,
                             1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0};
  EXPECT_EQ(integers_of(model::valid_pairs(inputs).to(at::kLong)), expected);
}

TEST(ReferenceScalar, SupportHoldsTheSelectedKeysAndRefusesOthers) {
  const at::Tensor indices = at::tensor(Integers{2, 0, -1, -1, -1, -1}).view({1, 2, 3});
  EXPECT_EQ(integers_of(model::support(indices, 4).to(at::kLong)),
            (Integers{1, 0, 1, 0, 0, 0, 0, 0}));
  EXPECT_THROW(model::support(indices, 2), core::Error);
  EXPECT_THROW(model::support(indices - 1, 4), core::Error);
}

TEST(ReferenceScalar, AttentionAgreesAndEmptyRowsAreZero) {
  const at::Tensor q = random_tensor({2, 3, 2, 5}, 19);  // [B, S, H, Dqk]
  const at::Tensor k = random_tensor({2, 7, 2, 5}, 20);
  const at::Tensor v = random_tensor({2, 7, 2, 3}, 21);
  at::Tensor support = random_tensor({2, 3, 7}, 22) > 0;
  support[1][2].fill_(false);
  Doubles outputs;
  Doubles lses;
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t s = 0; s < 3; ++s) {
      const at::Tensor bytes = support[b][s].to(at::kByte).contiguous();
      const std::span<const unsigned char> supported(bytes.data_ptr<std::uint8_t>(), 7);
      for (std::int64_t h = 0; h < 2; ++h) {
        const auto row = scalar::masked_attention(
            doubles_of(q[b][s][h]), doubles_of(k.select(0, b).select(1, h)),
            doubles_of(v.select(0, b).select(1, h)), supported, 0.37);
        append(outputs, row.output);
        lses.push_back(row.lse);
      }
    }
  }
  EXPECT_EQ(lses.back(), -kInfinity);
  EXPECT_EQ(outputs.back(), 0.0);
  const auto attended = model::masked_attention(q, k, v, support, 0.37, kOfficial);
  expect_close(attended.output, outputs);
  expect_close(attended.lse, lses);
}

TEST(ReferenceScalar, EmptyRowsHaveFiniteGradients) {
  const at::Tensor q = random_tensor({1, 2, 1, 3}, 23).requires_grad_();
  const at::Tensor k = random_tensor({1, 4, 1, 3}, 24).requires_grad_();
  const at::Tensor v = random_tensor({1, 4, 1, 2}, 25).requires_grad_();
  at::Tensor support = at::ones({1, 2, 4}, at::kBool);
  support[0][1].fill_(false);
  model::masked_attention(q, k, v, support, 0.5, kOfficial).output.square().sum().backward();
  for (const at::Tensor& input : {q, k, v}) {
    EXPECT_TRUE(input.grad().isfinite().all().item<bool>());
  }
  EXPECT_EQ(doubles_of(q.grad()[0][1]), Doubles(3, 0.0));
}

TEST(ReferenceScalar, ExpandedMlaFormsKeysThenValuesOfEachHead) {
  const at::Tensor q = random_tensor({1, 2, 3, 6}, 26);       // Dn = 4, Dr = 2
  const at::Tensor kv_latent = random_tensor({1, 5, 7}, 27);  // Rkv = 7
  const at::Tensor k_rot = random_tensor({1, 5, 2}, 28);
  const at::Tensor kv_b_proj = random_tensor({3 * 9, 7}, 29);  // Dv = 5
  const at::Tensor support = at::ones({1, 2, 5}, at::kBool);
  const std::vector<unsigned char> everything(5, 1);
  Doubles expected;
  for (std::int64_t s = 0; s < 2; ++s) {
    for (std::int64_t h = 0; h < 3; ++h) {
      Doubles keys;
      Doubles values;
      for (std::int64_t t = 0; t < 5; ++t) {
        const Doubles expanded =
            scalar::linear(doubles_of(kv_b_proj.narrow(0, 9 * h, 9)), doubles_of(kv_latent[0][t]));
        append(keys, {expanded.begin(), expanded.begin() + 4});
        append(keys, doubles_of(k_rot[0][t]));
        append(values, {expanded.begin() + 4, expanded.end()});
      }
      append(
          expected,
          scalar::masked_attention(doubles_of(q[0][s][h]), keys, values, everything, 0.3).output);
    }
  }
  expect_close(model::mla(q, kv_latent, k_rot, kv_b_proj, support, 0.3, kOfficial).output,
               expected);
}

// --- experts ------------------------------------------------------------------------------------

model::MlpWeights random_mlp(std::int64_t inner, std::int64_t width, unsigned seed) {
  return {random_tensor({inner, width}, seed), random_tensor({inner, width}, seed + 1),
          random_tensor({width, inner}, seed + 2)};
}

Doubles scalar_mlp(const at::Tensor& x, const model::MlpWeights& weights) {
  return scalar::mlp(doubles_of(x), doubles_of(weights.gate_proj), doubles_of(weights.up_proj),
                     doubles_of(weights.down_proj));
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
