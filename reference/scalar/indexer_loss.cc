#include "reference/scalar/indexer_loss.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace sparity::reference::scalar {
namespace {

using Keys = std::span<const unsigned char>;

constexpr double kOut = -std::numeric_limits<double>::infinity();
constexpr double kLeastLog = -100.0;

/// ln softmax of `values` over `keys`, −∞ elsewhere.
std::vector<double> log_softmax(std::span<const double> values, Keys keys) {
  double largest = kOut;
  for (std::size_t t = 0; t < keys.size(); ++t) {
    if (keys[t] != 0) {
      largest = std::max(largest, values[t]);
    }
  }
  double sum = 0.0;
  for (std::size_t t = 0; t < keys.size(); ++t) {
    if (keys[t] != 0) {
      sum += std::exp(values[t] - largest);
    }
  }
  std::vector<double> logs(keys.size(), kOut);
  for (std::size_t t = 0; t < keys.size(); ++t) {
    if (keys[t] != 0) {
      logs[t] = values[t] - largest - std::log(sum);
    }
  }
  return logs;
}

std::vector<double> log_q(std::span<const double> scores, const RowKeys& keys, const KlRule& rule) {
  return log_softmax(scores, rule.scores_over_valid ? keys.valid : keys.support);
}

/// What the guard makes of ln p.
double guarded_log_p(double p, const KlRule& rule) {
  switch (rule.guard) {
    case KlRule::Guard::kNone:
      break;
    case KlRule::Guard::kAddToTarget:
    case KlRule::Guard::kAddToBoth:
      return std::log(p + rule.epsilon);
    case KlRule::Guard::kClampTarget:
      return std::log(std::max(p, rule.epsilon));
    case KlRule::Guard::kClampLogs:
      return std::clamp(std::log(p), kLeastLog, 0.0);
  }
  return std::log(p);
}

/// What the guard makes of ln q.
double guarded_log_q(double log_q, const KlRule& rule) {
  switch (rule.guard) {
    case KlRule::Guard::kAddToBoth:
      return std::log(std::exp(log_q) + rule.epsilon);
    case KlRule::Guard::kClampLogs:
      return std::clamp(log_q, kLeastLog, 0.0);
    default:
      return log_q;
  }
}

/// −∂KL/∂ln q of one key.
double pull(double p, double log_q, const KlRule& rule) {
  switch (rule.guard) {
    case KlRule::Guard::kAddToBoth:
      return p * std::exp(log_q) / (std::exp(log_q) + rule.epsilon);
    case KlRule::Guard::kClampLogs:
      return log_q < kLeastLog ? 0.0 : p;
    default:
      return p;
  }
}

}  // namespace

std::vector<double> kl_target(std::span<const double> logits, const RowKeys& keys,
                              const KlRule& rule) {
  const std::size_t width = keys.valid.size();
  const Keys softmax_keys = rule.target == KlRule::Target::kSelected ? keys.support : keys.valid;
  std::vector<double> summed(width, 0.0);
  for (std::size_t head = 0; head < logits.size() / width; ++head) {
    const std::vector<double> logs = log_softmax(logits.subspan(head * width, width), softmax_keys);
    for (std::size_t t = 0; t < width; ++t) {
      summed[t] += rule.rounded(std::exp(logs[t]));
    }
  }
  const Keys divided_over = rule.target == KlRule::Target::kRestricted ? keys.valid : keys.support;
  double divisor = rule.guard == KlRule::Guard::kAddToTarget ? rule.epsilon : 0.0;
  for (std::size_t t = 0; t < width; ++t) {
    divisor += divided_over[t] != 0 ? summed[t] : 0.0;
  }
  std::vector<double> target(width, 0.0);
  for (std::size_t t = 0; t < width; ++t) {
    if (keys.support[t] != 0 && divisor > 0.0) {
      target[t] = rule.rounded(summed[t] / divisor);
    }
  }
  return target;
}

double kl_divergence(std::span<const double> target, std::span<const double> scores,
                     const RowKeys& keys, const KlRule& rule) {
  const std::vector<double> logs = log_q(scores, keys, rule);
  double sum = 0.0;
  for (std::size_t t = 0; t < target.size(); ++t) {
    if (keys.support[t] != 0 && target[t] > 0.0) {
      sum +=
          target[t] * (guarded_log_p(target[t], rule) - rule.rounded(guarded_log_q(logs[t], rule)));
    }
  }
  return sum;
}

std::vector<double> kl_gradient(std::span<const double> target, std::span<const double> scores,
                                const RowKeys& keys, const KlRule& rule) {
  const std::vector<double> logs = log_q(scores, keys, rule);
  std::vector<double> pulls(target.size(), 0.0);
  double sum = 0.0;
  for (std::size_t t = 0; t < target.size(); ++t) {
    if (keys.support[t] != 0 && target[t] > 0.0) {
      pulls[t] = pull(target[t], logs[t], rule);
      sum += pulls[t];
    }
  }
  std::vector<double> gradient;
  for (std::size_t t = 0; t < target.size(); ++t) {
    gradient.push_back(std::exp(logs[t]) * sum - pulls[t]);  // e^−∞ = 0 outside q's keys
  }
  return gradient;
}

}  // namespace sparity::reference::scalar
