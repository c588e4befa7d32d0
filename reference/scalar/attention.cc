#include "reference/scalar/attention.h"

#include "reference/scalar/linear.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sparity::reference::scalar {

AttendedRow masked_attention(std::span<const double> q, std::span<const double> keys,
                             std::span<const double> values,
                             std::span<const unsigned char> supported, double scale) {
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  std::vector<double> logits(supported.size(), kNone);
  double largest = kNone;
  for (std::size_t key = 0; key < supported.size(); ++key) {
    if (supported[key] != 0) {
      logits[key] = scale * dot(q, keys.subspan(key * q.size(), q.size()));
      largest = std::max(largest, logits[key]);
    }
  }
  const std::size_t width = values.size() / supported.size();
  AttendedRow row{std::vector<double>(width, 0.0), kNone};
  if (largest == kNone) {
    return row;
  }
  double sum = 0.0;
  for (std::size_t key = 0; key < supported.size(); ++key) {
    const double weight = std::exp(logits[key] - largest);  // 0 for a key outside the support
    sum += weight;
    for (std::size_t d = 0; d < width; ++d) {
      row.output[d] += weight * values[key * width + d];
    }
  }
  for (double& value : row.output) {
    value /= sum;
  }
  row.lse = largest + std::log(sum);
  return row;
}

}  // namespace sparity::reference::scalar
