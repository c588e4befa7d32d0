// The reference's tensor code in float64 against plain loops, primitive by primitive, at tiny odd
// sizes; and both against closed forms. A misunderstanding that both tensor implementations of the
// model share (an axis, a broadcast, a tie) shows here.

#include "reference/model/mlp.h"
#include "reference/model/norm.h"
#include "reference/model/rope.h"
#include "reference/scalar/linear.h"
#include "reference/scalar/norm.h"
#include "reference/scalar/rope.h"
#include "suites/selftest/tensor_values.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace sparity::selftest {
namespace {

namespace model = reference::model;
namespace scalar = reference::scalar;
using core::Recipe;

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

}  // namespace
}  // namespace sparity::selftest
