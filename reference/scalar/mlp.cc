#include "reference/scalar/mlp.h"

#include "reference/scalar/linear.h"

#include <cmath>

namespace sparity::reference::scalar {

double silu(double x) { return x / (1.0 + std::exp(-x)); }

std::vector<double> mlp(std::span<const double> x, std::span<const double> gate,
                        std::span<const double> up, std::span<const double> down) {
  std::vector<double> inner = linear(gate, x);
  const std::vector<double> scaled_by = linear(up, x);
  for (std::size_t i = 0; i < inner.size(); ++i) {
    inner[i] = silu(inner[i]) * scaled_by[i];
  }
  return linear(down, inner);
}

}  // namespace sparity::reference::scalar
