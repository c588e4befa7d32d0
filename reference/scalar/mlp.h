#pragma once

#include <span>
#include <vector>

namespace sparity::reference::scalar {

/// x / (1 + e^−x).
double silu(double x);

/// down · (silu(gate · x) ∘ (up · x)) of one token x [D]; gate and up [I, D], down [D, I], row by
/// row. Spec 2.10.
std::vector<double> mlp(std::span<const double> x, std::span<const double> gate,
                        std::span<const double> up, std::span<const double> down);

}  // namespace sparity::reference::scalar
