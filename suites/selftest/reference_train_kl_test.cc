// The reference's KL loss in float64 against plain loops, for every option, on rows with
// ties, with one key, without a key and without support; and against closed forms.

#include "reference/scalar/indexer_loss.h"
#include "reference/train/indexer_loss.h"
#include "src/core/error.h"
#include "suites/selftest/tensor_values.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

namespace sparity::selftest {
namespace {

namespace scalar = reference::scalar;
namespace train = reference::train;
using core::KlGuard;
using core::KlOptions;
using core::KlPrecision;
using core::KlReduction;
using core::KlSupport;
using core::KlTarget;

constexpr double kScale = 0.37;

double to_bfloat16(double value) {
  return static_cast<double>(static_cast<float>(c10::BFloat16(static_cast<float>(value))));
}

scalar::KlRule rule_of(const KlOptions& options) {
  using Target = scalar::KlRule::Target;
  using Guard = scalar::KlRule::Guard;
  scalar::KlRule rule;
  rule.target = options.target == KlTarget::kSelected       ? Target::kSelected
                : options.target == KlTarget::kRenormalised ? Target::kRenormalised
                                                            : Target::kRestricted;
  rule.guard = options.guard == KlGuard::kNone          ? Guard::kNone
               : options.guard == KlGuard::kAddToTarget ? Guard::kAddToTarget
               : options.guard == KlGuard::kClampTarget ? Guard::kClampTarget
               : options.guard == KlGuard::kAddToBoth   ? Guard::kAddToBoth
                                                        : Guard::kClampLogs;
  rule.scores_over_valid = options.support == KlSupport::kValid;
  if (options.precision == KlPrecision::kActivation) {
    rule.rounded = to_bfloat16;
  }
  return rule;
}

/// Runs `check` under every combination of target, support, guard and precision.
void for_every_option(const std::function<void(const KlOptions&)>& check) {
  for (const auto& target : core::option_words<KlTarget>()) {
    for (const auto& support : core::option_words<KlSupport>()) {
      for (const auto& guard : core::option_words<KlGuard>()) {
        for (const auto& precision : core::option_words<KlPrecision>()) {
          SCOPED_TRACE(std::string(target.word) + ", q over " + std::string(support.word) + ", " +
                       std::string(guard.word) + ", " + std::string(precision.word));
          check({.target = target.option,
                 .support = support.option,
                 .guard = guard.option,
                 .precision = precision.option});
        }
      }
    }
  }
}

/// Two batches of five rows over nine keys. Row [0][0] is padding; [0][1] sees one key; [0][2] has
/// no support among the keys it sees; the keys of [0][3] are far apart; scores have ties.
struct Rows {
  at::Tensor q = random_tensor({2, 5, 3, 4}, 1);  // [B, S, H, Dqk]
  at::Tensor k = random_tensor({2, 9, 3, 4}, 2);
  at::Tensor scores = (random_tensor({2, 5, 9}, 3) * 2).round() * 0.5;
  train::RowKeys keys;

  Rows() {
    keys.valid = random_tensor({2, 5, 9}, 4) > -0.7;
    keys.support = keys.valid & (random_tensor({2, 5, 9}, 5) > -0.2);
    keys.valid[0][0].fill_(false);
    keys.valid[0][1].fill_(false);
    keys.valid[0][1][6].fill_(true);
    keys.support[0][0].fill_(false);
    keys.support[0][1].copy_(keys.valid[0][1]);
    keys.support[0][2].fill_(false);
    q[0][3].mul_(60.0);
    scores[0][3].mul_(70.0);
    scores = scores.masked_fill(keys.valid.logical_not(), -kInfinity);
  }

  at::Tensor target(const KlOptions& options) const {
    return train::kl_target(q, k, kScale, keys, options, at::kBFloat16);
  }
  at::Tensor values(const KlOptions& options, const at::Tensor& of) const {
    return train::kl_rows(target(options), of, keys, options, at::kBFloat16);
  }
};

/// One row's keys as the loops read them.
struct KeyBytes {
  at::Tensor support;
  at::Tensor valid;
  KeyBytes(const train::RowKeys& keys, std::int64_t b, std::int64_t s)
      : support(keys.support[b][s].to(at::kByte).contiguous()),
        valid(keys.valid[b][s].to(at::kByte).contiguous()) {}
  scalar::RowKeys row() const {
    const auto size = static_cast<std::size_t>(valid.numel());
    return {{support.data_ptr<std::uint8_t>(), size}, {valid.data_ptr<std::uint8_t>(), size}};
  }
};

/// Logits [H, T] of one row, out of plain products.
Doubles logits_of(const Rows& rows, std::int64_t b, std::int64_t s) {
  return doubles_of((rows.k[b] * rows.q[b][s]).sum(-1).t() * kScale);
}

template <typename Check>
void for_every_row(const at::Tensor& rows, Check check) {
  for (std::int64_t b = 0; b < rows.size(0); ++b) {
    for (std::int64_t s = 0; s < rows.size(1); ++s) {
      SCOPED_TRACE("row [" + std::to_string(b) + "][" + std::to_string(s) + "]");
      check(b, s);
    }
  }
}

TEST(ReferenceTrainKl, TargetsAgreeForEveryOption) {
  const Rows rows;
  for_every_option([&](const KlOptions& options) {
    const at::Tensor target = rows.target(options);
    for_every_row(target, [&](std::int64_t b, std::int64_t s) {
      expect_close(target[b][s],
                   scalar::kl_target(logits_of(rows, b, s), KeyBytes(rows.keys, b, s).row(),
                                     rule_of(options)));
    });
  });
}

TEST(ReferenceTrainKl, TargetsAreDetachedFromAttention) {
  Rows rows;
  rows.q.requires_grad_();
  rows.k.requires_grad_();
  EXPECT_FALSE(rows.target({}).requires_grad());
}

TEST(ReferenceTrainKl, RowsAndTheirGradientsAgreeForEveryOption) {
  const Rows rows;
  const at::Tensor weights = random_tensor({2, 5}, 6);  // distinct cotangents
  for_every_option([&](const KlOptions& options) {
    const at::Tensor scores = rows.scores.clone().requires_grad_();
    const at::Tensor target = rows.target(options);
    const at::Tensor values = rows.values(options, scores);
    (values * weights.to(at::kBFloat16).to(at::kDouble)).sum().backward();
    for_every_row(values, [&](std::int64_t b, std::int64_t s) {
      const KeyBytes bytes(rows.keys, b, s);
      const Doubles p = doubles_of(target[b][s]);
      const Doubles i = doubles_of(rows.scores[b][s]);
      const scalar::KlRule rule = rule_of(options);
      expect_close(values[b][s], {scalar::kl_divergence(p, i, bytes.row(), rule)});
      // The cotangent is a bfloat16 number; its products with p are rounded on the way back.
      const double weight = to_bfloat16(weights[b][s].item<double>());
      const Doubles expected = scalar::kl_gradient(p, i, bytes.row(), rule);
      if (options.precision == KlPrecision::kWide) {
        expect_close(scores.grad()[b][s] / weight, expected);
      } else {
        EXPECT_LE((scores.grad()[b][s] / weight - tensor_of(expected)).abs().max().item<double>(),
                  0x1p-8);
      }
    });
  });
}

/// Rows that bring a guard to act, each alone with three keys, all of them valid.
struct GuardRow {
  Doubles target;
  Doubles scores;
  Integers support;
};

train::RowKeys keys_of(const GuardRow& row) {
  const at::Tensor support = at::tensor(row.support).view({1, 1, 3}).to(at::kBool);
  return {support, at::ones({1, 1, 3}, at::kBool)};
}

TEST(ReferenceTrainKl, GuardsAgreeWhereTheyAct) {
  const double tiny = std::exp(-120.0);
  const std::vector<GuardRow> hand_made = {
      {{1.0 - 4e-11, 4e-11, 0.0}, {0.0, std::log(4e-11), -90.0}, {1, 1, 1}},  // p and q below ε
      {{0.0, tiny, 0.0}, {3.0, 1.0, 3.0}, {0, 1, 0}},                         // ln p below −100
      {{0.25, 0.5, 0.25}, {0.0, -130.0, 1.0}, {1, 1, 1}},                     // ln q below −100
      {{0.25, 0.75, 0.0}, {0.5, 0.5, 4.0}, {1, 1, 0}},
  };
  for_every_option([&](const KlOptions& options) {
    for (const GuardRow& row : hand_made) {
      const train::RowKeys keys = keys_of(row);
      const at::Tensor scores = tensor_of(row.scores).view({1, 1, 3}).requires_grad_();
      const at::Tensor value = train::kl_rows(tensor_of(row.target).view({1, 1, 3}), scores, keys,
                                              options, at::kBFloat16);
      const KeyBytes bytes(keys, 0, 0);
      expect_close(value,
                   {scalar::kl_divergence(row.target, row.scores, bytes.row(), rule_of(options))});
      if (options.precision == KlPrecision::kWide) {
        value.backward(at::ones_like(value));
        expect_close(scores.grad(),
                     scalar::kl_gradient(row.target, row.scores, bytes.row(), rule_of(options)));
      }
    }
  });
}

TEST(ReferenceTrainKl, GuardsHaveTheirClosedForms) {
  // p = ½ twice over three valid keys, q uniform over them or over the two that are attended to.
  const at::Tensor p = tensor_of({0.5, 0.5, 0.0}).view({1, 1, 3});
  const at::Tensor scores = at::zeros({1, 1, 3}, at::kDouble);
  const train::RowKeys keys = keys_of({{}, {}, {1, 1, 0}});
  const auto value = [&](KlOptions options) {
    return train::kl_rows(p, scores, keys, options, at::kDouble).item<double>();
  };
  EXPECT_NEAR(value({.support = KlSupport::kSelected}), 0.0, 1e-15);
  EXPECT_NEAR(value({.support = KlSupport::kValid}), std::log(1.5), 1e-15);
  EXPECT_NEAR(value({.guard = KlGuard::kAddToTarget}), 2e-10, 1e-14);
  EXPECT_NEAR(value({.support = KlSupport::kValid, .guard = KlGuard::kAddToBoth}),
              std::log(1.5) + 2e-10 - 3e-10, 1e-14);
  const at::Tensor far = tensor_of({0.0, -300.0, -300.0}).view({1, 1, 3});
  EXPECT_NEAR(
      train::kl_rows(p, far, keys, {.guard = KlGuard::kClampLogs}, at::kDouble).item<double>(),
      50.0 - std::log(2.0), 1e-12);
  EXPECT_NEAR(train::kl_rows(p, far, keys, {}, at::kDouble).item<double>(), 150.0 - std::log(2.0),
              1e-12);
}

TEST(ReferenceTrainKl, TargetRowsSumToOneAndRowsWithoutSupportAreZero) {
  const Rows rows;
  for (const KlTarget target : {KlTarget::kSelected, KlTarget::kRenormalised}) {
    const at::Tensor sums = rows.target({.target = target}).sum(-1);
    const at::Tensor supported = rows.keys.support.any(-1);
    expect_close(sums, doubles_of(supported.to(at::kDouble)));
    EXPECT_EQ(sums[0][0].item<double>(), 0.0);
    EXPECT_EQ(sums[0][2].item<double>(), 0.0);
  }
  const at::Tensor part = rows.target({.target = KlTarget::kRestricted}).sum(-1);
  EXPECT_LT(part[1][0].item<double>(), 1.0 - 1e-3);
  EXPECT_EQ(part[0][1].item<double>(), 1.0);
  for_every_option([&](const KlOptions& options) {
    const at::Tensor values = rows.values(options, rows.scores);
    EXPECT_EQ(values[0][0].item<double>(), 0.0);
    EXPECT_EQ(values[0][2].item<double>(), 0.0);
  });
}

TEST(ReferenceTrainKl, RenormalisedWeighsHeadsByTheirMass) {
  // Two heads over three valid keys, the first two attended to. Head 0 has half its mass there, at
  // key 0; head 1 all of it, at key 1.
  const at::Tensor q = at::ones({1, 1, 2, 1}, at::kDouble);
  const at::Tensor k =
      tensor_of({0.0, -800.0, -800.0, 0.0, 0.0, -800.0}).view({1, 3, 2, 1});  // [B, T, H, D]
  const train::RowKeys keys = keys_of({{}, {}, {1, 1, 0}});
  const auto target = [&](KlTarget which) {
    return doubles_of(train::kl_target(q, k, 1.0, keys, {.target = which}, at::kDouble));
  };
  EXPECT_EQ(target(KlTarget::kSelected), (Doubles{0.5, 0.5, 0.0}));
  EXPECT_EQ(target(KlTarget::kRestricted), (Doubles{0.25, 0.5, 0.0}));
  expect_close(tensor_of(target(KlTarget::kRenormalised)), {1.0 / 3.0, 2.0 / 3.0, 0.0});
}

TEST(ReferenceTrainKl, EveryTargetIsTheSameWhereEveryValidKeyIsAttendedTo) {
  Rows rows;
  rows.keys.support = rows.keys.valid;
  const at::Tensor expected = rows.values({}, rows.scores);
  EXPECT_GT(expected.sum().item<double>(), 1.0);
  for (const auto& [target, word] : core::option_words<KlTarget>()) {
    for (const auto& [support, other] : core::option_words<KlSupport>()) {
      expect_close(rows.values({.target = target, .support = support}, rows.scores),
                   doubles_of(expected));
    }
  }
}

TEST(ReferenceTrainKl, NormalisingOverMoreKeysAddsTheirMass) {
  const Rows rows;
  const at::Tensor added = rows.values({.support = KlSupport::kValid}, rows.scores) -
                           rows.values({.support = KlSupport::kSelected}, rows.scores);
  int compared = 0;
  for_every_row(added, [&](std::int64_t b, std::int64_t s) {
    if (rows.keys.support[b][s].any().item<bool>()) {
      const at::Tensor q = rows.scores[b][s].exp();  // −∞ gives 0
      const at::Tensor inside = q.masked_fill(rows.keys.support[b][s].logical_not(), 0.0);
      EXPECT_NEAR(added[b][s].item<double>(), -(inside.sum() / q.sum()).log().item<double>(),
                  1e-12);
      ++compared;
    }
  });
  EXPECT_EQ(compared, 8);
}

TEST(ReferenceTrainKl, ShiftedScoresAndPermutedHeadsChangeNothing) {
  const Rows rows;
  Rows permuted;
  const at::Tensor order = at::tensor(Integers{2, 0, 1});
  permuted.q = at::index_select(rows.q, 2, order);
  permuted.k = at::index_select(rows.k, 2, order);
  const KlOptions options = {.target = KlTarget::kRenormalised, .support = KlSupport::kValid};
  expect_close(permuted.target(options), doubles_of(rows.target(options)));
  expect_close(rows.values(options, rows.scores + 17.25),
               doubles_of(rows.values(options, rows.scores)));
}

TEST(ReferenceTrainKl, DivergenceIsZeroOnlyWhereScoresAreLogarithmsOfTheTarget) {
  Rows rows;
  const at::Tensor target = rows.target({});
  const at::Tensor present = target > 0.0;
  rows.keys.support = rows.keys.support & present;  // a key whose probability underflowed is out
  const at::Tensor matched = target.masked_fill(present.logical_not(), 1.0).log() + 3.0;
  const at::Tensor scores = matched.clone().requires_grad_();
  const at::Tensor values = rows.values({}, scores);
  EXPECT_LE(values.abs().max().item<double>(), 9 * 0x1p-52 * 100);
  values.sum().backward();
  EXPECT_LE(scores.grad().abs().max().item<double>(), 1e-14);  // q − p
  const at::Tensor others = rows.values({}, random_tensor({2, 5, 9}, 7));
  for_every_row(others, [&](std::int64_t b, std::int64_t s) {
    const bool several = rows.keys.support[b][s].sum().item<std::int64_t>() > 1;
    const double value = others[b][s].item<double>();
    EXPECT_TRUE(several ? value > 1e-3 : value == 0.0) << value;
  });
}

TEST(ReferenceTrainKl, GradientsAreFiniteInFloat32WhateverTheRow) {
  Rows rows;
  for (at::Tensor* tensor : {&rows.q, &rows.k, &rows.scores}) {
    *tensor = tensor->to(at::kFloat);
  }
  for_every_option([&](const KlOptions& options) {
    const at::Tensor scores = rows.scores.clone().requires_grad_();
    const at::Tensor values = rows.values(options, scores);
    EXPECT_EQ(values.scalar_type(), at::kFloat);
    EXPECT_TRUE(values.isfinite().all().item<bool>());
    values.sum().backward();
    EXPECT_TRUE(scores.grad().isfinite().all().item<bool>());
    EXPECT_EQ(scores.grad()[0][0].abs().max().item<double>(), 0.0);
    EXPECT_EQ(scores.grad().masked_select(rows.keys.valid.logical_not()).abs().max().item<double>(),
              0.0);
  });
}

TEST(ReferenceTrainKl, ReductionsDivideByWhatTheyName) {
  const train::KlCounts counts = {.layers = 3, .rows = 7, .positions = 10, .items = 20};
  EXPECT_EQ(train::kl_divisor(KlReduction::kSum, counts), 1.0);
  EXPECT_EQ(train::kl_divisor(KlReduction::kMeanRowsLayers, counts), 21.0);
  EXPECT_EQ(train::kl_divisor(KlReduction::kMeanPositionsLayers, counts), 30.0);
  EXPECT_EQ(train::kl_divisor(KlReduction::kNumItems, counts), 60.0);
  EXPECT_EQ(train::kl_divisor(KlReduction::kLayerSumOfRowMeans, counts), 7.0);
  train::KlCounts none = counts;
  none.items.reset();
  EXPECT_THROW(train::kl_divisor(KlReduction::kNumItems, none), core::Error);
  none.rows = 0;
  EXPECT_THROW(train::kl_divisor(KlReduction::kMeanRowsLayers, none), core::Error);
  EXPECT_EQ(train::counted_rows(Rows().keys.valid), 9);
}

}  // namespace
}  // namespace sparity::selftest
