// What bounds of gradients are made of.

#include "suites/cases/magnitudes.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sparity::cases {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

at::Tensor row(std::initializer_list<double> values) {
  return at::tensor(values, at::kDouble).view({1, 1, -1});
}

// q = (3/4, 1/4) against p = (1/4, 3/4): ‖q‖ = ‖p‖ = √10/4, and ‖q − p‖ = √2/2.
TEST(KlCancellation, IsTheSizeOfBothDistributionsOverTheirDifference) {
  const auto found =
      kl_cancellation(row({std::log(3.0), 0.0}), row({0.25, 0.75}), row({0.5, -0.5}));
  EXPECT_DOUBLE_EQ(found.value(), std::sqrt(5.0));
}

TEST(KlCancellation, GrowsAsTheDistributionsMeet) {
  const double step = 1e-3;
  const at::Tensor scores = row({0.0, 0.0});
  const auto found = kl_cancellation(scores, row({0.5 - step, 0.5 + step}), row({step, -step}));
  EXPECT_NEAR(found.value(), 1 / step, 1);  // 2 · √½ / (√2 · step)
  EXPECT_FALSE(kl_cancellation(scores, row({0.5, 0.5}), row({1.0, 1.0})).has_value());
}

// A query's loss sums over the keys that its gradient reaches; what is beyond must not count.
TEST(KlCancellation, LeavesOutKeysThatTheLossDoesNotSumOver) {
  const double three = std::log(3.0);
  const double expected = std::sqrt(5.0);
  EXPECT_DOUBLE_EQ(
      kl_cancellation(row({three, 0, kNone}), row({0.25, 0.75, 0}), row({0.5, -0.5, 0})).value(),
      expected);
  EXPECT_DOUBLE_EQ(
      kl_cancellation(row({three, 0, 9}), row({0.25, 0.75, 0.5}), row({0.5, -0.5, 0})).value(),
      expected);
}

TEST(KlCancellation, IsThatOfAllRowsTogether) {
  const at::Tensor scores = at::tensor({std::log(3.0), 0.0, 0.0, 0.0}, at::kDouble).view({1, 2, 2});
  const at::Tensor target = at::tensor({0.25, 0.75, 0.5, 0.5}, at::kDouble).view({1, 2, 2});
  const at::Tensor gradient = at::full({1, 2, 2}, 0.5, at::kDouble);
  // The second row adds √½ to neither difference, only to both sizes: √(10/16 + 1/2) each.
  EXPECT_DOUBLE_EQ(kl_cancellation(scores, target, gradient).value(),
                   2 * std::sqrt(10.0 / 16 + 0.5) / std::sqrt(0.5));
}

}  // namespace
}  // namespace sparity::cases
