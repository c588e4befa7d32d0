// That the sanitizers can find something: only in builds with them.

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <climits>

namespace sparity {
namespace {

// Tensors come from LibTorch's allocator, which was not built with the sanitizer.
TEST(SanitizersDeathTest, GuardTheMemoryOfTensors) {
  const at::Tensor tensor = at::zeros({1000}, at::kFloat);
  float* values = tensor.mutable_data_ptr<float>();
  const volatile int beyond = 1000;
  const volatile int before = -1;
  EXPECT_DEATH(values[beyond] = 1.0F, "heap-buffer-overflow");
  EXPECT_DEATH(values[before] = 1.0F, "heap-buffer-overflow");
}

TEST(SanitizersDeathTest, GuardTheMemoryOfTensorsThatAreGone) {
  at::Tensor tensor = at::zeros({1000}, at::kFloat);
  volatile float* values = tensor.mutable_data_ptr<float>();
  tensor.reset();
  EXPECT_DEATH(values[0] = 1.0F, "heap-use-after-free");
}

TEST(SanitizersDeathTest, EndTheProgramOnUndefinedBehaviour) {
  volatile int largest = INT_MAX;
  EXPECT_DEATH(largest = largest + 1, "signed integer overflow");
}

}  // namespace
}  // namespace sparity
