#include "reference/scalar/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sparity::reference::scalar {
namespace {

float round_to_float(double value) { return static_cast<float>(value); }

/// The dimension whose pair turns `rotations` times within the original context.
double turning_dimension(double theta, double rope_dim, double original, double rotations) {
  const double wavelength = original / rotations;
  return rope_dim * std::log(wavelength / (2.0 * std::numbers::pi)) / (2.0 * std::log(theta));
}

/// Turns the numbers at `first` and `second` of `x` in place.
void turn(std::vector<double>& x, std::size_t first, std::size_t second, double angle,
          double attention_factor) {
  const double c = std::cos(angle) * attention_factor;
  const double s = std::sin(angle) * attention_factor;
  const double a = x[first];
  const double b = x[second];
  x[first] = a * c - b * s;
  x[second] = a * s + b * c;
}

}  // namespace

std::vector<float> inverse_frequencies(double theta, std::size_t rope_dim) {
  std::vector<float> frequencies;
  for (std::size_t i = 0; i < rope_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rope_dim);
    const float power = round_to_float(std::pow(theta, static_cast<double>(exponent)));
    frequencies.push_back(1.0F / power);
  }
  return frequencies;
}

std::vector<float> yarn_inverse_frequencies(double theta, std::size_t rope_dim, const Yarn& yarn) {
  const auto dim = static_cast<double>(rope_dim);
  const double original = yarn.original_max_position_embeddings;
  const double low =
      std::max(0.0, std::floor(turning_dimension(theta, dim, original, yarn.beta_fast)));
  double high =
      std::min(dim - 1.0, std::ceil(turning_dimension(theta, dim, original, yarn.beta_slow)));
  if (low == high) {
    high += 0.001;
  }
  std::vector<float> frequencies = inverse_frequencies(theta, rope_dim);
  const float width = round_to_float(high - low);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float position = (static_cast<float>(i) - round_to_float(low)) / width;
    const float smooth = 1.0F - std::clamp(position, 0.0F, 1.0F);
    const float slowed = frequencies[i] / round_to_float(yarn.factor);
    frequencies[i] = slowed * (1.0F - smooth) + frequencies[i] * smooth;
  }
  return frequencies;
}

double phase(double position, float inverse_frequency) {
  return static_cast<double>(round_to_float(position) * inverse_frequency);
}

std::vector<double> rotate_interleaved(std::span<const double> x, double position,
                                       std::span<const float> inverse_frequencies,
                                       double attention_factor) {
  std::vector<double> y(x.begin(), x.end());
  for (std::size_t i = 0; i < x.size() / 2; ++i) {
    turn(y, 2 * i, 2 * i + 1, phase(position, inverse_frequencies[i]), attention_factor);
  }
  return y;
}

std::vector<double> rotate_half_split(std::span<const double> x, double position,
                                      std::span<const float> inverse_frequencies,
                                      double attention_factor) {
  std::vector<double> y(x.begin(), x.end());
  const std::size_t half = x.size() / 2;
  for (std::size_t i = 0; i < half; ++i) {
    turn(y, i, i + half, phase(position, inverse_frequencies[i]), attention_factor);
  }
  return y;
}

double mscale(double factor, double a) {
  return factor > 1.0 ? 1.0 + 0.1 * a * std::log(factor) : 1.0;
}

double yarn_softmax_scale(double qk_head_dim, double factor, double mscale_all_dim) {
  const double m = mscale(factor, mscale_all_dim);
  return m * m / std::sqrt(qk_head_dim);
}

}  // namespace sparity::reference::scalar
