#pragma once

#include <span>
#include <vector>

namespace sparity::reference::scalar {

/// What one head of one query gets out of attention.
struct AttendedRow {
  std::vector<double> output;  // [Dv]; zeros where no key is supported (D-26)
  double lse = 0.0;            // ln Σ e^z over the supported keys; −∞ where there is none
};

/// Softmax attention of one query of one head: z[t] = scale·<q, k[t]>, output = Σ_t e^(z[t] −
/// lse)·v[t] over the keys whose `supported` is non-zero. q [Dqk], keys [T, Dqk] and values [T, Dv]
/// row by row, supported [T]. Spec 2.8.
AttendedRow masked_attention(std::span<const double> q, std::span<const double> keys,
                             std::span<const double> values,
                             std::span<const unsigned char> supported, double scale);

}  // namespace sparity::reference::scalar
