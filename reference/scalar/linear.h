#pragma once

#include <span>
#include <vector>

namespace sparity::reference::scalar {

/// y[m] = Σ_n weight[m][n] · x[n]. weight is [rows, x.size()], row by row; throws
/// std::invalid_argument when it does not hold whole rows. Spec 2.1.
std::vector<double> linear(std::span<const double> weight, std::span<const double> x);

/// Σ a[i] · b[i]. Throws std::invalid_argument when the lengths differ.
double dot(std::span<const double> a, std::span<const double> b);

}  // namespace sparity::reference::scalar
