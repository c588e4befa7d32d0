#pragma once

#include "src/core/dtype.h"
#include "suites/judge/gates.h"
#include "suites/judge/tensor.h"
#include "suites/judge/top_k.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <random>
#include <vector>

namespace sparity::judge::samples {

inline constexpr double kQuietNan = std::numeric_limits<double>::quiet_NaN();

/// Standard normal numbers that are the same on every standard library.
class Gaussian {
 public:
  explicit Gaussian(std::uint64_t seed) : bits_(seed) {}

  double operator()() {
    const double u = uniform();
    const double v = uniform();
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }
  /// In (0, 1).
  double uniform() { return (static_cast<double>(bits_() >> 11) + 0.5) * 0x1p-53; }

 private:
  std::mt19937_64 bits_;
};

/// A float64 truth of standard normal numbers.
inline Tensor random_truth(std::vector<std::int64_t> shape, std::uint64_t seed) {
  Tensor truth{.dtype = core::Dtype::kF64, .shape = std::move(shape), .values = {}};
  truth.values.resize(static_cast<std::size_t>(element_count(truth.shape)));
  Gaussian gaussian(seed);
  for (double& value : truth.values) {
    value = gaussian();
  }
  return truth;
}

/// What an honest computation in `dtype` makes of `truth`: relative noise of a few roundings, then
/// one.
inline Tensor honest(const Tensor& truth, core::Dtype dtype, std::uint64_t seed) {
  Tensor result = truth;
  result.dtype = dtype;
  Gaussian gaussian(seed);
  const double u = core::unit_roundoff(dtype);
  for (double& value : result.values) {
    value = rounded(value * (1 + 2 * u * gaussian()), dtype);
  }
  return result;
}

/// The exact top k of every row, −1 as tail.
inline Tensor chosen_of(const Tensor& scores, std::int64_t k) {
  Tensor indices{.dtype = core::Dtype::kI64, .shape = scores.shape, .values = {}};
  indices.shape.back() = std::min(k, scores.shape.back());
  for (std::size_t row = 0; row < scores.rows(); ++row) {
    std::vector<std::int64_t> best = top_k(scores.row(row), k);
    best.resize(static_cast<std::size_t>(indices.shape.back()), -1);
    indices.values.insert(indices.values.end(), best.begin(), best.end());
  }
  return indices;
}

/// A value of its dtype again, after a test has tampered with it.
inline void set(Tensor& tensor, std::size_t cell, double value) {
  tensor.values[cell] = rounded(value, tensor.dtype);
}

inline const Gate* gate_named(const Comparison& comparison, std::string_view name) {
  for (const Gate& gate : comparison.gates) {
    if (gate.name == name) {
      return &gate;
    }
  }
  return nullptr;
}

/// Whether the gate was applied and failed.
inline bool failed(const Comparison& comparison, std::string_view name) {
  const Gate* gate = gate_named(comparison, name);
  return gate != nullptr && !gate->ok;
}

/// Truth, baseline and an honest candidate of one tensor.
struct Trio {
  Tensor truth;
  Tensor baseline;
  Tensor candidate;

  explicit Trio(std::vector<std::int64_t> shape = {4, 8, 16},
                core::Dtype dtype = core::Dtype::kBF16, std::uint64_t seed = 1)
      : truth(random_truth(std::move(shape), seed)),
        baseline(honest(truth, dtype, seed + 1000)),
        candidate(honest(truth, dtype, seed + 2000)) {}

  Comparison judge(TensorClaim claim = {.tensor = "x"}) const {
    return compare(claim, candidate, &baseline, truth);
  }
};

}  // namespace sparity::judge::samples
