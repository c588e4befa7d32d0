#include "suites/selftest/tensor_values.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace sparity::selftest {

at::Tensor random_tensor(at::IntArrayRef shape, unsigned seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  at::Tensor tensor = at::empty(shape, at::kDouble);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    tensor.data_ptr<double>()[i] = normal(engine);
  }
  return tensor;
}

at::Tensor tensor_of(const Doubles& values) {
  return at::tensor(values, at::TensorOptions().dtype(at::kDouble));
}

Doubles doubles_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kDouble).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

Integers integers_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.data_ptr<std::int64_t>(), flat.data_ptr<std::int64_t>() + flat.numel()};
}

std::vector<float> floats_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

void expect_close(const at::Tensor& tensor, const Doubles& expected) {
  const Doubles found = doubles_of(tensor);
  ASSERT_EQ(found.size(), expected.size());
  ASSERT_FALSE(expected.empty());
  double largest = 0.0;
  for (const double value : expected) {
    largest = std::isfinite(value) ? std::max(largest, std::abs(value)) : largest;
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isfinite(expected[i])) {
      EXPECT_LE(std::abs(found[i] - expected[i]), 1e-12 * largest) << "element " << i;
    } else {
      EXPECT_EQ(found[i], expected[i]) << "element " << i;
    }
  }
}

void append(Doubles& all, const Doubles& more) { all.insert(all.end(), more.begin(), more.end()); }

}  // namespace sparity::selftest
