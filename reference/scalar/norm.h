#pragma once

#include <span>
#include <vector>

namespace sparity::reference::scalar {

/// y[i] = weight[i] · x[i] / sqrt(Σ x² / n + eps). Spec 2.2.
std::vector<double> rms_norm(std::span<const double> x, std::span<const double> weight, double eps);

/// y[i] = weight[i] · (x[i] − mean) / sqrt(Σ (x − mean)² / n + eps) + bias[i]. Spec 2.3.
std::vector<double> layer_norm(std::span<const double> x, std::span<const double> weight,
                               std::span<const double> bias, double eps);

}  // namespace sparity::reference::scalar
