#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sparity::reference::scalar {

/// y[i] = n^-½ · Σ_j (−1)^popcount(i & j) · x[j]: the orthonormal Sylvester matrix. Throws
/// std::invalid_argument unless n = x.size() is a power of two. Spec 2.9.
std::vector<double> hadamard(std::span<const double> x);

/// I = Σ_h w[h] · max(<q[h], k>, 0) of one query and one key. q is [Hi, Di] row by row, k [Di], w
/// [Hi]. Spec 2.9.
double index_score(std::span<const double> q, std::span<const double> k, std::span<const double> w);

/// The min(k, T) best of T scores as indices, by (score descending, index ascending). −0 equals +0.
/// A score of −∞ is a masked key: it is never selected, and −1 fills the row after the last valid
/// one. D-17, D-19.
std::vector<std::int64_t> topk_indices(std::span<const double> scores, std::size_t k);

}  // namespace sparity::reference::scalar
