#include "reference/scalar/norm.h"

#include <cmath>

namespace sparity::reference::scalar {

std::vector<double> rms_norm(std::span<const double> x, std::span<const double> weight,
                             double eps) {
  double squares = 0.0;
  for (const double value : x) {
    squares += value * value;
  }
  const double rms = std::sqrt(squares / static_cast<double>(x.size()) + eps);
  std::vector<double> y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    y.push_back(weight[i] * x[i] / rms);
  }
  return y;
}

std::vector<double> layer_norm(std::span<const double> x, std::span<const double> weight,
                               std::span<const double> bias, double eps) {
  double sum = 0.0;
  for (const double value : x) {
    sum += value;
  }
  const double mean = sum / static_cast<double>(x.size());
  double squares = 0.0;
  for (const double value : x) {
    squares += (value - mean) * (value - mean);
  }
  const double deviation = std::sqrt(squares / static_cast<double>(x.size()) + eps);
  std::vector<double> y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    y.push_back(weight[i] * (x[i] - mean) / deviation + bias[i]);
  }
  return y;
}

}  // namespace sparity::reference::scalar
