// The reference's balance loss and bias update in float64 against plain loops, and against closed
// forms.

#include "reference/scalar/balance_loss.h"
#include "reference/train/balance_loss.h"
#include "src/core/error.h"
#include "suites/selftest/tensor_values.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace sparity::selftest {
namespace {

namespace scalar = reference::scalar;
namespace train = reference::train;

/// Three rows, the second with one token less, the third without any; 5 experts, 2 a token.
struct Routed {
  at::Tensor scores = random_tensor({3, 4, 5}, 8).sigmoid();
  at::Tensor indices =
      at::tensor(Integers{0, 1, 1, 0, 4, 1, 2, 1, 3, 2, 2, 3, 0, 2, 4, 4, 0, 1, 0, 1, 0, 1, 0, 1})
          .view({3, 4, 2});
  at::Tensor tokens =
      at::tensor(Integers{1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0}).view({3, 4}).to(at::kBool);
};

/// The top two of each row, by plain search.
at::Tensor best_two(const at::Tensor& scores) {
  Integers chosen;
  for (std::int64_t t = 0; t < scores.size(0); ++t) {
    const Doubles row = doubles_of(scores[t]);
    for (int rank = 0; rank < 2; ++rank) {
      std::int64_t best = -1;
      for (std::int64_t i = 0; i < 5; ++i) {
        const bool taken = rank == 1 && i == chosen.back();
        const auto at = [&](std::int64_t j) { return row[static_cast<std::size_t>(j)]; };
        best = !taken && (best < 0 || at(i) > at(best)) ? i : best;
      }
      chosen.push_back(best);
    }
  }
  return at::tensor(chosen).view({-1, 2});
}

TEST(ReferenceTrainBalance, BalanceAgreesForEveryOption) {
  const Routed routed;
  const at::Tensor unbiased = best_two(routed.scores.flatten(0, 1)).view({3, 4, 2});
  for (const auto& [routing, word] : core::option_words<core::BalanceRouting>()) {
    for (const auto& [scope, other] : core::option_words<core::BalanceScope>()) {
      SCOPED_TRACE(std::string(word) + ", " + std::string(other));
      const bool sequence = scope == core::BalanceScope::kSequence;
      const at::Tensor scores = routed.scores.clone().requires_grad_();
      const at::Tensor loss =
          train::balance_loss(scores, routed.indices, routed.tokens, {routing, scope, 0.25});
      loss.backward();
      const at::Tensor chosen =
          routing == core::BalanceRouting::kUnbiased ? unbiased : routed.indices;
      // Tokens 0 … 3 and 4 … 6 are the rows; the batch holds all seven.
      const std::vector<std::pair<int, int>> groups =
          sequence ? std::vector<std::pair<int, int>>{{0, 4}, {4, 3}}
                   : std::vector<std::pair<int, int>>{{0, 7}};
      double expected = 0.0;
      Doubles gradient;
      for (const auto& [first, count] : groups) {
        const Doubles s = doubles_of(routed.scores.flatten(0, 1).narrow(0, first, count));
        const Integers c = integers_of(chosen.flatten(0, 1).narrow(0, first, count));
        const double share = 0.25 / static_cast<double>(groups.size());
        expected += share * scalar::balance_loss(s, c, 5, 2);
        for (const double value : scalar::balance_gradient(s, c, 5, 2)) {
          gradient.push_back(share * value);
        }
      }
      gradient.resize(60, 0.0);  // padding has none
      expect_close(loss, {expected});
      expect_close(scores.grad(), gradient);
    }
  }
}

TEST(ReferenceTrainBalance, PerfectBalanceIsOneAndTiesGoToTheLowerExpert) {
  const at::Tensor tokens = at::ones({1, 5}, at::kBool);
  const at::Tensor equal = at::full({1, 5, 5}, 0.5, at::kDouble);
  const at::Tensor around = at::tensor(Integers{0, 1, 1, 2, 2, 3, 3, 4, 4, 0}).view({1, 5, 2});
  const core::BalanceOptions actual = {.routing = core::BalanceRouting::kActual,
                                       .coefficient = 1.0};
  expect_close(train::balance_loss(equal, around, tokens, actual), {1.0});
  // Experts 0 and 1 are taken by all: f = 5/2 each. More score for them is more loss.
  const at::Tensor scores = equal.clone().requires_grad_();
  train::balance_loss(scores, around, tokens, {.coefficient = 1.0}).backward();
  EXPECT_GT(scores.grad()[0][0][1].item<double>(), 0.0);
  EXPECT_LT(scores.grad()[0][0][2].item<double>(), 0.0);
  EXPECT_THROW(train::balance_loss(equal, around, tokens.logical_not(), actual), core::Error);
}

TEST(ReferenceTrainBalance, BiasesMoveAgainstTheLoad) {
  const Routed routed;
  const at::Tensor load = train::expert_load(routed.indices, routed.tokens, 5);
  EXPECT_EQ(integers_of(load), (Integers{3, 4, 4, 2, 1}));
  EXPECT_EQ(integers_of(train::expert_load(routed.indices, at::ones({3, 4}, at::kBool), 5)),
            (Integers{7, 8, 4, 2, 3}));
  const at::Tensor even = at::tensor(Integers{3, 4, 3, 1, 4});  // mean 3
  const at::Tensor bias = random_tensor({5}, 9);
  for (const at::Tensor& each : {load, even}) {
    expect_close(train::bias_update(bias, each, 0.125),
                 scalar::bias_update(doubles_of(bias), doubles_of(each), 0.125));
  }
  expect_close(train::bias_update(bias, even, 0.125) - bias, {0.0, -0.125, 0.0, 0.125, -0.125});
}

}  // namespace
}  // namespace sparity::selftest
