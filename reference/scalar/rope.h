#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace sparity::reference::scalar {

/// YaRN's numbers, under Hugging Face's names.
struct Yarn {
  double factor = 1.0;
  double original_max_position_embeddings = 4096.0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
};

/// f[i] = theta^(−2i/rope_dim) for i < rope_dim/2. Every step rounds to float32: inverse
/// frequencies are f32 by definition of the model. (A power function may differ from another's by
/// an ulp.) Spec 2.5.
std::vector<float> inverse_frequencies(double theta, std::size_t rope_dim);

/// The same under YaRN: f/factor·(1−smooth) + f·smooth with smooth falling from 1 to 0 between the
/// pairs that turn `beta_fast` and `beta_slow` times within the original context. Bounds in double,
/// ramp and mix in float32. Spec 2.5.
std::vector<float> yarn_inverse_frequencies(double theta, std::size_t rope_dim, const Yarn& yarn);

/// f32(position) · inverse_frequency, rounded to float32: phases, too, are f32 by definition.
double phase(double position, float inverse_frequency);

/// Turns the pairs (x[2i], x[2i+1]) by the phase of pair i, cos and sin times `attention_factor`;
/// cos, sin and rotation in double. Order kept. Spec 2.6.
std::vector<double> rotate_interleaved(std::span<const double> x, double position,
                                       std::span<const float> inverse_frequencies,
                                       double attention_factor);

/// Turns the pairs (x[i], x[i + n/2]) likewise. Spec 2.6.
std::vector<double> rotate_half_split(std::span<const double> x, double position,
                                      std::span<const float> inverse_frequencies,
                                      double attention_factor);

/// m = 0.1·a·ln(factor) + 1, or 1 for factor ≤ 1.
double mscale(double factor, double a);

/// qk_head_dim^-½ · mscale(factor, mscale_all_dim)². Spec 2.7.
double yarn_softmax_scale(double qk_head_dim, double factor, double mscale_all_dim);

}  // namespace sparity::reference::scalar
