// The reference's indexer, masks and attention in float64 against plain loops.

#include "reference/model/attention.h"
#include "reference/model/indexer.h"
#include "reference/model/mask.h"
#include "reference/scalar/attention.h"
#include "reference/scalar/indexer.h"
#include "reference/scalar/linear.h"
#include "src/core/error.h"
#include "suites/selftest/tensor_values.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <span>
#include <vector>

namespace sparity::selftest {
namespace {

namespace model = reference::model;
namespace scalar = reference::scalar;

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

}  // namespace
}  // namespace sparity::selftest
