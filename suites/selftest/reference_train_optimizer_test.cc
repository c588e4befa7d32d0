// The reference's optimizer, clipping and schedule against plain loops, and AdamW against torch's.

#include "reference/scalar/optimizer.h"
#include "reference/train/optimizer.h"
#include "src/core/error.h"
#include "suites/selftest/tensor_values.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

namespace sparity::selftest {
namespace {

namespace scalar = reference::scalar;
namespace train = reference::train;
using core::AdamWOptions;
using core::ScheduleKind;
using train::NamedTensors;

// Far from the defaults, so that each of them shows.
const AdamWOptions kOptions = {
    .learning_rate = 9.0, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-2, .weight_decay = 0.3};

double rate_of(int step) { return 0.05 / (1.0 + step); }

at::Tensor gradient_of(int step) { return random_tensor({3, 4}, 20 + static_cast<unsigned>(step)); }

TEST(ReferenceTrainOptimizer, AdamWAgreesWithPlainLoops) {
  const at::Tensor start = random_tensor({3, 4}, 10);
  for (const bool decayed : {true, false}) {
    train::AdamW optimizer({{"w", start}}, kOptions,
                           decayed ? std::set<std::string>{} : std::set<std::string>{"w"});
    Doubles p = doubles_of(start);
    Doubles m(12, 0.0);
    Doubles v(12, 0.0);
    for (int step = 0; step < 5; ++step) {
      optimizer.step({{"w", gradient_of(step)}}, rate_of(step));
      scalar::adamw_step(p, m, v, doubles_of(gradient_of(step)), step + 1,
                         {rate_of(step), 0.8, 0.95, 1e-2, decayed ? 0.3 : 0.0});
      expect_close(optimizer.parameters().at("w"), p);
      expect_close(optimizer.states().at("w").m, m);
      expect_close(optimizer.states().at("w").v, v);
    }
  }
}

TEST(ReferenceTrainOptimizer, AdamWAgreesWithTorch) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    const at::Tensor start = random_tensor({3, 4}, 11).to(type);
    at::Tensor theirs = start.clone().requires_grad_();
    torch::optim::AdamW torch_optimizer(
        {theirs}, torch::optim::AdamWOptions(1.0).betas({0.8, 0.95}).eps(1e-2).weight_decay(0.3));
    train::AdamW optimizer({{"w", start}}, kOptions);
    for (int step = 0; step < 20; ++step) {
      const at::Tensor gradient = gradient_of(step).to(type);
      auto& group = torch_optimizer.param_groups().front();
      static_cast<torch::optim::AdamWOptions&>(group.options()).lr(rate_of(step));
      theirs.mutable_grad() = gradient.clone();
      torch_optimizer.step();
      optimizer.step({{"w", gradient}}, rate_of(step));
      const at::Tensor ours = optimizer.parameters().at("w");
      const double unit = type == at::kDouble ? 0x1p-53 : 0x1p-24;
      EXPECT_LE((ours - theirs.detach()).abs().max().item<double>(), 8 * (step + 1) * unit);
    }
  }
}

TEST(ReferenceTrainOptimizer, FirstStepHasItsClosedForm) {
  // Both moments are corrected back to the gradient: p·(1 − lr·wd) − lr · g / (|g| + eps).
  train::AdamW optimizer({{"w", tensor_of({2.0, -3.0})}}, kOptions);
  optimizer.step({{"w", tensor_of({0.5, -0.25})}}, 0.1);
  expect_close(optimizer.parameters().at("w"),
               {2.0 * 0.97 - 0.1 * 0.5 / 0.51, -3.0 * 0.97 + 0.1 * 0.25 / 0.26});
}

TEST(ReferenceTrainOptimizer, ParametersWithoutAGradientStayAndCountNoStep) {
  const NamedTensors start = {{"a", random_tensor({4}, 12)}, {"b", random_tensor({4}, 13)}};
  train::AdamW optimizer(start, kOptions);
  optimizer.step({{"a", random_tensor({4}, 14)}}, 0.1);
  EXPECT_TRUE(optimizer.parameters().at("b").equal(start.at("b")));
  EXPECT_FALSE(optimizer.parameters().at("a").equal(start.at("a")));
  EXPECT_EQ(optimizer.states().at("a").step, 1);
  EXPECT_EQ(optimizer.states().at("b").step, 0);
  // A gradient of zeros is a gradient: it decays.
  optimizer.step({{"b", at::zeros({4}, at::kDouble)}}, 0.1);
  expect_close(optimizer.parameters().at("b"), doubles_of(start.at("b") * 0.97));
  EXPECT_THROW(optimizer.step({{"c", random_tensor({4}, 15)}}, 0.1), core::Error);
}

TEST(ReferenceTrainOptimizer, BfloatParametersGrowBySmallStepsOfTheirMaster) {
  // Steps of 2^-10 are lost beside 1 in bfloat16 and add up in the master.
  const at::Tensor start = tensor_of({1.0}).to(at::kBFloat16);
  train::AdamW optimizer({{"w", start}}, {.eps = 0.0, .weight_decay = 0.0});
  for (int step = 0; step < 16; ++step) {
    optimizer.step({{"w", tensor_of({-1.0}).to(at::kBFloat16)}}, 0x1p-10);
    EXPECT_EQ(optimizer.parameters().at("w").scalar_type(), at::kBFloat16);
  }
  EXPECT_EQ(optimizer.states().at("w").master.scalar_type(), at::kFloat);
  EXPECT_NEAR(optimizer.states().at("w").master.item<double>(), 1.0 + 0x1p-6, 1e-5);
  EXPECT_EQ(optimizer.parameters().at("w").item<double>(), 1.0 + 0x1p-6);
}

TEST(ReferenceTrainOptimizer, ClippingScalesOneGroupToItsOwnNorm) {
  const NamedTensors before = {{"a", random_tensor({5}, 16)},
                               {"b", random_tensor({2, 3}, 17)},
                               {"other", random_tensor({7}, 18) * 100}};
  Doubles all = doubles_of(before.at("a"));
  append(all, doubles_of(before.at("b")));
  const std::set<std::string> group = {"a", "b", "absent"};
  for (const double max_norm : {0.5, 1000.0}) {
    NamedTensors clipped = before;
    const double norm = train::clip_gradients(clipped, group, max_norm);
    EXPECT_NEAR(norm, tensor_of(all).norm().item<double>(), 1e-12);
    const double coefficient = scalar::clip_coefficient(all, max_norm);
    EXPECT_EQ(coefficient == 1.0, max_norm == 1000.0);
    for (const char* name : {"a", "b"}) {
      expect_close(clipped.at(name), doubles_of(before.at(name) * coefficient));
    }
    EXPECT_TRUE(clipped.at("other").equal(before.at("other")));
  }
  // The 1e-6 beside the norm: a norm of 1e-6 clipped to itself is halved.
  NamedTensors small = {{"a", tensor_of({1e-6})}};
  train::clip_gradients(small, group, 1e-6);
  expect_close(small.at("a"), {0.5e-6});
  NamedTensors broken = {{"a", tensor_of({std::nan(""), 1.0})}};
  EXPECT_TRUE(std::isnan(train::clip_gradients(broken, group, 1.0)));
  EXPECT_TRUE(broken.at("a").isnan().all().item<bool>());
  EXPECT_THROW(train::clip_gradients(small, group, 0.0), core::Error);
}

TEST(ReferenceTrainOptimizer, CosineScheduleAgreesAndEndsAtItsLeast) {
  const core::ScheduleOptions schedule = {
      .kind = ScheduleKind::kCosine, .warmup_steps = 4, .total_steps = 11, .least_fraction = 0.1};
  for (std::int64_t n = 0; n < 15; ++n) {
    EXPECT_DOUBLE_EQ(train::scheduled_rate(2.0, schedule, n),
                     scalar::cosine_rate(2.0, n, {4, 11, 0.1}));
  }
  EXPECT_DOUBLE_EQ(train::scheduled_rate(2.0, schedule, 0), 0.5);
  EXPECT_DOUBLE_EQ(train::scheduled_rate(2.0, schedule, 3), 2.0);
  EXPECT_DOUBLE_EQ(train::scheduled_rate(2.0, schedule, 4), 2.0);
  EXPECT_DOUBLE_EQ(train::scheduled_rate(2.0, schedule, 11), 0.2);
  EXPECT_DOUBLE_EQ(train::scheduled_rate(2.0, schedule, 500), 0.2);
  const core::ScheduleOptions halfway = {
      .kind = ScheduleKind::kCosine, .warmup_steps = 0, .total_steps = 8, .least_fraction = 0.5};
  EXPECT_DOUBLE_EQ(train::scheduled_rate(1.0, halfway, 4), 0.75);
}

TEST(ReferenceTrainOptimizer, ConstantScheduleStaysAfterItsWarmUp) {
  const core::ScheduleOptions schedule = {.warmup_steps = 2, .total_steps = 2};
  EXPECT_DOUBLE_EQ(train::scheduled_rate(3.0, schedule, 0), 1.5);
  EXPECT_DOUBLE_EQ(train::scheduled_rate(3.0, schedule, 1), 3.0);
  EXPECT_DOUBLE_EQ(train::scheduled_rate(3.0, schedule, 9), 3.0);
  const core::ScheduleOptions all_warmup = {
      .kind = ScheduleKind::kCosine, .warmup_steps = 2, .total_steps = 2, .least_fraction = 0.25};
  EXPECT_DOUBLE_EQ(train::scheduled_rate(3.0, all_warmup, 2), 0.75);
}

}  // namespace
}  // namespace sparity::selftest
