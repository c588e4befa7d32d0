#include "reference/scalar/loss.h"

#include <algorithm>
#include <cmath>

namespace sparity::reference::scalar {

double cross_entropy(std::span<const double> logits, std::size_t label) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const double logit : logits) {
    sum += std::exp(logit - largest);
  }
  return largest + std::log(sum) - logits[label];
}

}  // namespace sparity::reference::scalar
