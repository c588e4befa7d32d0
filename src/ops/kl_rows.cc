#include "src/ops/kl_rows.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace sparity::ops {

namespace {

using core::Fault;
using core::KlGuard;
using core::planted;

constexpr double kLeastLog = -100.0;

/// Rounds to A where the options want that.
template <typename W>
class Rounding {
 public:
  explicit Rounding(const KlRowRule& rule)
      : to_bfloat16_(rule.options.precision == core::KlPrecision::kActivation &&
                     rule.activation == at::kBFloat16) {}

  W operator()(W value) const {
    return to_bfloat16_
               ? static_cast<W>(static_cast<float>(c10::BFloat16(static_cast<float>(value))))
               : value;
  }

 private:
  bool to_bfloat16_;
};

template <typename W>
void target_row(const KlRowRule& rule, W* row, std::int64_t columns) {
  // Of selected keys the sum is `heads` on paper. What is divided by is the sum as it was rounded:
  // an error of a head's lse scales its whole row, and KL_t by itself would pass on all of it.
  double divisor = std::accumulate(row, row + columns, 0.0);
  if (rule.options.target == core::KlTarget::kRestricted ||
      (rule.options.target == core::KlTarget::kRenormalised &&
       planted(Fault::kF13TargetNotRenormalised))) {
    divisor = static_cast<double>(rule.heads);
  }
  if (rule.options.guard == KlGuard::kAddToTarget) {
    divisor += core::kKlEpsilon;
  }
  if (!(divisor > 0)) {
    return;
  }
  const Rounding<W> rounded(rule);
  for (std::int64_t c = 0; c < columns; ++c) {
    row[c] = rounded(static_cast<W>(static_cast<double>(row[c]) / divisor));
  }
}

/// ln Σ exp(scores); −inf without a finite score.
template <typename W>
double log_sum_exp(const W* scores, std::int64_t columns) {
  W largest = -std::numeric_limits<W>::infinity();
  for (std::int64_t c = 0; c < columns; ++c) {
    largest = std::max(largest, scores[c]);
  }
  if (!std::isfinite(largest)) {
    return static_cast<double>(largest);
  }
  double sum = 0;
  for (std::int64_t c = 0; c < columns; ++c) {
    sum += static_cast<double>(std::exp(scores[c] - largest));
  }
  return std::log(sum) + static_cast<double>(largest);
}

/// One key's term of KL_t.
template <typename W>
double term_of(const KlRowRule& rule, double p, double log_q) {
  const Rounding<W> to_rule(rule);
  const auto rounded = [&](double x) { return static_cast<double>(to_rule(static_cast<W>(x))); };
  const double eps = core::kKlEpsilon;
  if (planted(Fault::kF14KlReversed)) {
    return std::exp(log_q) * (log_q - std::log(p));
  }
  switch (rule.options.guard) {
    case KlGuard::kNone:
      return p * (std::log(p) - rounded(log_q));
    case KlGuard::kAddToTarget:
      return p * (std::log(p + eps) - rounded(log_q));
    case KlGuard::kClampTarget:
      return p * (std::log(std::max(p, eps)) - rounded(log_q));
    case KlGuard::kAddToBoth:
      return p * (std::log(p + eps) - rounded(std::log(std::exp(log_q) + eps)));
    case KlGuard::kClampLogs:
      return p *
             (std::clamp(std::log(p), kLeastLog, 0.0) - rounded(std::clamp(log_q, kLeastLog, 0.0)));
  }
  return 0;
}

/// What a term's gradient weighs, minus its slope in ln q: w in `kl_of_rows`.
double weight_of(KlGuard guard, double p, double log_q) {
  if (planted(Fault::kF14KlReversed)) {
    return -std::exp(log_q) * (log_q - std::log(p) + 1);
  }
  switch (guard) {
    case KlGuard::kAddToBoth: {
      const double q = std::exp(log_q);
      return p * q / (q + core::kKlEpsilon);
    }
    case KlGuard::kClampLogs:
      return log_q >= kLeastLog ? p : 0.0;
    default:
      return p;
  }
}

/// KL_t; with `gradient` the scores become dKL_t/dI.
template <typename W>
double kl_row(const KlRowRule& rule, const W* target, W* scores, std::int64_t columns,
              bool gradient) {
  const double lse = log_sum_exp(scores, columns);
  const auto log_q = [&](std::int64_t c) { return static_cast<double>(scores[c]) - lse; };
  const auto weight = [&](std::int64_t c) {
    return target[c] == 0 ? 0.0
                          : weight_of(rule.options.guard, static_cast<double>(target[c]), log_q(c));
  };
  double sum = 0;
  double weights = 0;
  for (std::int64_t c = 0; c < columns; ++c) {
    if (target[c] != 0) {
      sum += term_of<W>(rule, static_cast<double>(target[c]), log_q(c));
      weights += weight(c);
    }
  }
  for (std::int64_t c = 0; gradient && c < columns; ++c) {
    const bool closed = scores[c] == -std::numeric_limits<W>::infinity();
    scores[c] = closed ? W(0) : static_cast<W>(std::exp(log_q(c)) * weights - weight(c));
  }
  return sum;
}

}  // namespace

void to_target(const KlRowRule& rule, const at::Tensor& heads) {
  dispatch_wide(heads.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    W* out = heads.mutable_data_ptr<W>();
    for (std::int64_t r = 0; r < heads.size(0); ++r) {
      target_row(rule, out + r * heads.size(1), heads.size(1));
    }
  });
}

void kl_of_rows(const KlRowRule& rule, const KlColumns& columns, bool gradient,
                const at::Tensor& rows) {
  dispatch_wide(columns.scores.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    const std::int64_t width = columns.scores.size(1);
    const W* target = columns.heads.const_data_ptr<W>();
    W* scores = columns.scores.mutable_data_ptr<W>();
    W* out = rows.mutable_data_ptr<W>();
    for (std::int64_t r = 0; r < columns.scores.size(0); ++r) {
      out[r] =
          static_cast<W>(kl_row(rule, target + r * width, scores + r * width, width, gradient));
    }
  });
}

}  // namespace sparity::ops
