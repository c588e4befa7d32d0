#pragma once

#include <span>
#include <vector>

namespace sparity::reference::scalar {

/// scaling · B(A(x)): first the rank's products, then theirs. a is [rank, x.size()] and b [rows,
/// rank], row by row; throws std::invalid_argument when either does not hold whole rows. Spec
/// build-ground 4.1.
std::vector<double> low_rank(std::span<const double> a, std::span<const double> b,
                             std::span<const double> x, double scaling);

/// W + scaling · B · A, row by row: weight [rows, columns], a [rank, columns], b [rows, rank].
/// Throws std::invalid_argument when the sizes contradict each other. Spec build-ground 4.1.
std::vector<double> merged(std::span<const double> weight, std::span<const double> a,
                           std::span<const double> b, std::size_t rank, double scaling);

}  // namespace sparity::reference::scalar
