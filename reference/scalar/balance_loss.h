#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sparity::reference::scalar {

/// Σ_i f_i · P_i of T tokens and E experts: f_i = E / (K·T) · how many tokens chose expert i, P_i =
/// (1/T) Σ_t s[t,i] / Σ_j s[t,j]. scores [T, E] and chosen [T, K] row by row. Spec 4.7.
double balance_loss(std::span<const double> scores, std::span<const std::int64_t> chosen,
                    std::size_t experts, std::size_t per_token);

/// Its gradient [T, E] with respect to the scores, f held fixed: (f_i − Σ_j f_j s'[t,j]) / (T · Σ_j
/// s[t,j]) with s' the scores divided by their sum.
std::vector<double> balance_gradient(std::span<const double> scores,
                                     std::span<const std::int64_t> chosen, std::size_t experts,
                                     std::size_t per_token);

/// b_i + rate · sign(mean load − load_i), sign(0) = 0. bias and load [E]. Spec 4.7.
std::vector<double> bias_update(std::span<const double> bias, std::span<const double> load,
                                double rate);

}  // namespace sparity::reference::scalar
