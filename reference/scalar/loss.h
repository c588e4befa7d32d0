#pragma once

#include <cstddef>
#include <span>

namespace sparity::reference::scalar {

/// −ln softmax(logits)[label] of one row of logits [V]. Spec 4.6.
double cross_entropy(std::span<const double> logits, std::size_t label);

}  // namespace sparity::reference::scalar
