#include "reference/scalar/linear.h"

#include <stdexcept>

namespace sparity::reference::scalar {

std::vector<double> linear(std::span<const double> weight, std::span<const double> x) {
  if (x.empty() || weight.size() % x.size() != 0) {
    throw std::invalid_argument("linear: the weight does not hold whole rows");
  }
  std::vector<double> y;
  for (std::size_t first = 0; first < weight.size(); first += x.size()) {
    y.push_back(dot(weight.subspan(first, x.size()), x));
  }
  return y;
}

double dot(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) {
    throw std::invalid_argument("dot: lengths differ");
  }
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

}  // namespace sparity::reference::scalar
