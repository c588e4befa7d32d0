#include "reference/scalar/adapter.h"

#include "reference/scalar/linear.h"

#include <stdexcept>

namespace sparity::reference::scalar {

std::vector<double> low_rank(std::span<const double> a, std::span<const double> b,
                             std::span<const double> x, double scaling) {
  std::vector<double> y = linear(b, linear(a, x));
  for (double& value : y) {
    value *= scaling;
  }
  return y;
}

std::vector<double> merged(std::span<const double> weight, std::span<const double> a,
                           std::span<const double> b, std::size_t rank, double scaling) {
  if (rank == 0 || a.size() % rank != 0 || b.size() % rank != 0 ||
      weight.size() != (a.size() / rank) * (b.size() / rank)) {
    throw std::invalid_argument("merged: the pair does not fit the weight");
  }
  const std::size_t columns = a.size() / rank;
  std::vector<double> sum;
  for (std::size_t cell = 0; cell < weight.size(); ++cell) {
    double product = 0.0;
    for (std::size_t r = 0; r < rank; ++r) {
      product += b[cell / columns * rank + r] * a[r * columns + cell % columns];
    }
    sum.push_back(weight[cell] + scaling * product);
  }
  return sum;
}

}  // namespace sparity::reference::scalar
