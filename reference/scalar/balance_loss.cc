#include "reference/scalar/balance_loss.h"

namespace sparity::reference::scalar {
namespace {

/// f [E] of spec 4.7.
std::vector<double> frequencies(std::span<const std::int64_t> chosen, std::size_t experts) {
  std::vector<double> f(experts, 0.0);
  for (const std::int64_t expert : chosen) {
    f.at(static_cast<std::size_t>(expert)) +=
        static_cast<double>(experts) / static_cast<double>(chosen.size());  // K·T choices
  }
  return f;
}

double sum_of(std::span<const double> values) {
  double sum = 0.0;
  for (const double value : values) {
    sum += value;
  }
  return sum;
}

}  // namespace

double balance_loss(std::span<const double> scores, std::span<const std::int64_t> chosen,
                    std::size_t experts, std::size_t per_token) {
  const std::vector<double> f = frequencies(chosen, experts);
  const std::size_t tokens = chosen.size() / per_token;
  double loss = 0.0;
  for (std::size_t token = 0; token < tokens; ++token) {
    const auto row = scores.subspan(token * experts, experts);
    for (std::size_t i = 0; i < experts; ++i) {
      loss += f[i] * row[i] / sum_of(row) / static_cast<double>(tokens);
    }
  }
  return loss;
}

std::vector<double> balance_gradient(std::span<const double> scores,
                                     std::span<const std::int64_t> chosen, std::size_t experts,
                                     std::size_t per_token) {
  const std::vector<double> f = frequencies(chosen, experts);
  const std::size_t tokens = chosen.size() / per_token;
  std::vector<double> gradient;
  for (std::size_t token = 0; token < tokens; ++token) {
    const auto row = scores.subspan(token * experts, experts);
    const double sum = sum_of(row);
    double mean_f = 0.0;
    for (std::size_t i = 0; i < experts; ++i) {
      mean_f += f[i] * row[i] / sum;
    }
    for (std::size_t i = 0; i < experts; ++i) {
      gradient.push_back((f[i] - mean_f) / (static_cast<double>(tokens) * sum));
    }
  }
  return gradient;
}

std::vector<double> bias_update(std::span<const double> bias, std::span<const double> load,
                                double rate) {
  const double mean = sum_of(load) / static_cast<double>(load.size());
  std::vector<double> updated(bias.begin(), bias.end());
  for (std::size_t i = 0; i < load.size(); ++i) {
    if (load[i] < mean) {
      updated[i] += rate;
    } else if (load[i] > mean) {
      updated[i] -= rate;
    }
  }
  return updated;
}

}  // namespace sparity::reference::scalar
