#pragma once

#include <functional>
#include <span>
#include <vector>

namespace sparity::reference::scalar {

/// How one row's divergence is taken. Spec 4.2, 4.3, 4.5.
struct KlRule {
  enum class Target { kSelected, kRenormalised, kRestricted };
  enum class Guard { kNone, kAddToTarget, kClampTarget, kAddToBoth, kClampLogs };

  Target target = Target::kSelected;
  Guard guard = Guard::kNone;
  bool scores_over_valid = false;  // q over every valid key, else over the support
  double epsilon = 1e-10;
  /// Where a narrower dtype rounds: every head's probability, p and the logarithm of q.
  std::function<double(double)> rounded = [](double value) { return value; };
};

/// The keys of one row: non-zero bytes, [T] each; `support` lies within `valid`.
struct RowKeys {
  std::span<const unsigned char> support;
  std::span<const unsigned char> valid;
};

/// p [T] of one row: with P[t] = Σ_h softmax_h(logits)[t], the softmax of each head over the
/// support (kSelected) or over every valid key, p = P / ΣP on the support and 0 elsewhere. ΣP runs
/// over the support, or over every valid key (kRestricted), and has ε added under kAddToTarget. A
/// row whose sum is 0 has p = 0. logits [H, T] row by row. Spec 4.2, 4.5.
std::vector<double> kl_target(std::span<const double> logits, const RowKeys& keys,
                              const KlRule& rule);

/// Σ over the support of p · (ln p − ln q) under the rule's guard, a term of p = 0 being 0; q is
/// the softmax of scores [T]. Spec 4.2, 4.3.
double kl_divergence(std::span<const double> target, std::span<const double> scores,
                     const RowKeys& keys, const KlRule& rule);

/// The gradient [T] of `kl_divergence` with respect to the scores, by formula: q·Σc − c over the
/// keys that q is normalised over and 0 elsewhere, where c[t] = p[t], but p·q / (q + ε) under
/// kAddToBoth, and 0 where kClampLogs holds ln q at −100. Rounding passes as the identity.
/// Spec 4.2.
std::vector<double> kl_gradient(std::span<const double> target, std::span<const double> scores,
                                const RowKeys& keys, const KlRule& rule);

}  // namespace sparity::reference::scalar
