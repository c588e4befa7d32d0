#include "src/core/error.h"
#include "src/tensors/recorder.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sparity::tensors {
namespace {

using testing::ElementsAre;

at::Tensor leaf() { return at::tensor({1.0, -2.0, 3.0}).requires_grad_(true); }

/// y = (2x)·(2x), z = Σ y: the gradient of y is 1, of the doubled x 2·2x, of x 8x.
void run_square(const at::Tensor& x, Recorder& recorder) {
  const Probe probe(&recorder);
  const at::Tensor doubled = probe("doubled", x * 2);
  probe("y", doubled * doubled).sum().backward();
}

TEST(RecorderGradients, CapturesTheWholeGradientOfAValueUsedTwice) {
  const at::Tensor x = leaf();
  Recorder recorder({"grad.*"});
  run_square(x, recorder);
  EXPECT_TRUE(recorder.captured().at("grad.doubled").equal(4 * x.detach()));
  EXPECT_TRUE(recorder.captured().at("grad.y").equal(at::full({3}, 1.0, at::kDouble)));
  EXPECT_THAT(recorder.gradient_order(), ElementsAre("grad.y", "grad.doubled"));
  EXPECT_FALSE(recorder.captured().contains("y"));
  EXPECT_TRUE(x.grad().equal(8 * x.detach()));
  EXPECT_TRUE(recorder.unmatched_globs().empty());
}

TEST(RecorderGradients, ForcedGradientFlowsOnAndWhatArrivedIsCaptured) {
  const at::Tensor x = leaf();
  Recorder recorder({"grad.doubled"});
  recorder.force("grad.doubled", at::tensor({1.0, 10.0, 100.0}));
  run_square(x, recorder);
  EXPECT_TRUE(recorder.captured().at("grad.doubled").equal(4 * x.detach()));
  EXPECT_TRUE(x.grad().equal(at::tensor({2.0, 20.0, 200.0})));
  EXPECT_TRUE(recorder.unused_forces().empty());
}

TEST(RecorderGradients, ForcedValueIsUsedBitForBitAndGradientsPassIt) {
  const at::Tensor x = leaf();
  Recorder recorder({"*"});
  recorder.force("doubled", at::tensor({-0.0, 5.0, 7.0}));
  run_square(x, recorder);
  EXPECT_TRUE(recorder.captured().at("doubled")[0].signbit().item().toBool());
  EXPECT_TRUE(recorder.captured().at("grad.doubled").equal(at::tensor({0.0, 10.0, 14.0})));
  EXPECT_TRUE(x.grad().equal(at::tensor({0.0, 20.0, 28.0})));
}

TEST(RecorderGradients, ForcedGradientOfAnotherShapeIsBadInput) {
  Recorder recorder;
  recorder.force("grad.doubled", at::tensor({1.0, 2.0}));
  EXPECT_THROW(run_square(leaf(), recorder), core::Error);
}

TEST(RecorderGradients, ForcedGradientOfAnotherKindIsBadInput) {
  Recorder recorder;
  recorder.force("grad.doubled", at::tensor({1, 2, 3}));
  EXPECT_THROW(run_square(leaf(), recorder), core::Error);
}

TEST(RecorderGradients, ForcedGradientThatNeverArrivesIsUnused) {
  Recorder recorder({"grad.doubled"});
  recorder.force("grad.doubled", at::tensor({1.0, 2.0, 3.0}));
  const at::NoGradGuard no_gradients;
  const Probe probe(&recorder);
  probe("doubled", leaf() * 2);
  EXPECT_THAT(recorder.unused_forces(), ElementsAre("grad.doubled"));
  EXPECT_THAT(recorder.unmatched_globs(), ElementsAre("grad.doubled"));
}

TEST(RecorderGradients, GradientOfASumNobodyFormsIsEveryPartsAndForcedInAll) {
  const at::Tensor a = leaf();
  const at::Tensor b = leaf();
  Recorder recorder({"grad.sum"});
  recorder.force("grad.sum", at::full({3}, 7.0, at::kDouble));
  const at::Tensor left = a * 2;
  const at::Tensor right = b * 3;
  Probe(&recorder).sum_gradient("sum", {left, right});
  ((left + right) * 5).sum().backward();
  EXPECT_TRUE(recorder.captured().at("grad.sum").equal(at::full({3}, 5.0, at::kDouble)));
  EXPECT_THAT(recorder.gradient_order(), ElementsAre("grad.sum"));
  EXPECT_TRUE(a.grad().equal(at::full({3}, 14.0, at::kDouble)));
  EXPECT_TRUE(b.grad().equal(at::full({3}, 21.0, at::kDouble)));
}

TEST(RecorderGradients, PassRunAgainReplacesAndHooksAndCapturesNoValueTwice) {
  const at::Tensor x = leaf();
  Recorder recorder({"*"});
  recorder.force("doubled", at::tensor({1.0, 5.0, 7.0}));
  {
    const at::NoGradGuard no_gradients;
    const Probe probe(&recorder);
    probe("doubled", x * 2);
  }
  const at::Tensor again = Probe(&recorder).again()("doubled", x * 4);
  EXPECT_TRUE(again.equal(at::tensor({1.0, 5.0, 7.0})));
  again.sum().backward();
  EXPECT_THAT(recorder.order(), ElementsAre("doubled"));
  EXPECT_THAT(recorder.gradient_order(), ElementsAre("grad.doubled"));
  EXPECT_TRUE(x.grad().equal(at::full({3}, 4.0, at::kDouble)));
}

}  // namespace
}  // namespace sparity::tensors
