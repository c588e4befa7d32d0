#pragma once

#include "src/core/forward_options.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sparity::core {

/// Which attention the indexer is trained to match (spec 4.5). Ω is the support: the selected valid
/// keys in sparse mode, every valid key in dense mode, where all three are the same. The target is
/// p = P / ΣP on Ω and 0 elsewhere, P the sum over heads of each head's softmax; 0 where ΣP is 0.
enum class KlTarget {
  kSelected,      // "selected": softmax over Ω; every head weighs the same
  kRenormalised,  // "renormalised": softmax over every valid key, ΣP over Ω; a head weighs as much
                  // as its mass there
  kRestricted,  // "restricted": the same with ΣP over every valid key, which is the number of
                // heads: p is not a distribution, KL_t may come out negative
};

/// The keys over which the indexer's own distribution is normalised (spec 4.5).
enum class KlSupport {
  kSelected,  // "selected": Ω
  kValid,     // "valid": every valid key
};

/// How the rows' values KL_t become one number; L layers, R counted rows (spec 4.2).
enum class KlReduction {
  kSum,                  // "sum": over rows and layers
  kMeanRowsLayers,       // "mean_rows_layers": sum / (L · R)
  kMeanPositionsLayers,  // "mean_positions_layers": sum / (L · B · S), padded positions counted too
  kNumItems,             // "num_items": sum / (L · items), items given by the caller
  kLayerSumOfRowMeans,  // "layer_sum_of_row_means": sum / R
};

/// What keeps logarithms finite, ε = 1e-10 (spec 4.3): the term of one key. Where p is 0, it is 0.
enum class KlGuard {
  kNone,         // "none": p · (ln p − ln q)
  kAddToTarget,  // "add_to_target": p = P / (ΣP + ε), then p · (ln(p + ε) − ln q)
  kClampTarget,  // "clamp_target": p · (ln max(p, ε) − ln q)
  kAddToBoth,    // "add_to_both": p · (ln(p + ε) − ln(q + ε))
  kClampLogs,    // "clamp_logs": p · (ln p − ln q), both logarithms clamped to [−100, 0]
};

/// The dtype of target, softmax and logarithms.
enum class KlPrecision {
  kWide,        // "float32": f32(A)
  kActivation,  // "activation": each head's softmax, p, and the logarithm of q as the guard leaves
                // it are rounded to A; sums and the rest stay f32(A)
};

/// Which inputs of the indexer the KL loss does not pass through (spec 4.2, 4.4).
enum class KlDetach {
  kNone,   // "none": the loss reaches the model through both
  kQOnly,  // "q_only": the query latent; through the hidden state it leaks
  kBoth,   // "both": the loss reaches the indexer alone
};

/// The indexer's KL loss: for a row t, KL_t = Σ_{s∈Ω} p (ln p − ln q) with p from the layer's own
/// attention, which is always detached, and q = softmax of the index scores (spec 4.2). A row
/// counts when its query is a token that sees a key. Defaults are those of spec 4.2.
struct KlOptions {
  KlTarget target = KlTarget::kSelected;
  KlSupport support = KlSupport::kSelected;
  KlReduction reduction = KlReduction::kMeanRowsLayers;
  KlGuard guard = KlGuard::kNone;
  KlPrecision precision = KlPrecision::kWide;
  KlDetach detach = KlDetach::kBoth;
  double coefficient = 1.0;

  bool operator==(const KlOptions&) const = default;
};

inline constexpr double kKlEpsilon = 1e-10;

/// Which choice of experts the balance loss counts (spec 4.7).
enum class BalanceRouting {
  kUnbiased,  // "unbiased": the top K of the scores, without bias or groups, as in the paper
  kActual,    // "actual": the experts that the router chose
};

/// Over which tokens load is balanced (spec 4.7).
enum class BalanceScope {
  kSequence,  // "sequence": each row by itself, then the mean over rows that hold a token
  kBatch,     // "batch": all tokens of all rows together
};

/// The router's balance loss, L = coefficient · Σ_i f_i · P_i, summed over MoE layers (spec 4.7,
/// DeepSeek-V3 equations 17 to 20): f_i = E / (K · T) · how many of the T tokens chose expert i,
/// P_i the mean over them of s_i / Σ_j s_j. Padding is no token. f carries no gradient. 0 turns it
/// off.
struct BalanceOptions {
  BalanceRouting routing = BalanceRouting::kUnbiased;
  BalanceScope scope = BalanceScope::kSequence;
  double coefficient = 0.0;

  bool operator==(const BalanceOptions&) const = default;
};

/// What a training step minimises: lm + coefficient · kl + coefficient · balance.
struct Objective {
  bool lm = true;
  std::optional<KlOptions> kl = {};
  BalanceOptions balance = {};
  /// What the LM loss, and the KL loss under KlReduction::kNumItems, are divided by, so that
  /// micro-batches of unequal length add up to one batch; 0: the labels that count here.
  std::int64_t num_items = 0;

  bool wants_balance() const { return balance.coefficient != 0.0; }
};

/// A word of an option on the command line, in JSON and in metadata.
template <typename Option>
struct OptionWord {
  Option option;
  std::string_view word;
};

/// Every value of an option with its word, in the order of the enumeration.
template <typename Option>
constexpr auto option_words();

template <>
constexpr auto option_words<KlTarget>() {
  return std::to_array<OptionWord<KlTarget>>({{KlTarget::kSelected, "selected"},
                                              {KlTarget::kRenormalised, "renormalised"},
                                              {KlTarget::kRestricted, "restricted"}});
}
template <>
constexpr auto option_words<KlSupport>() {
  return std::to_array<OptionWord<KlSupport>>(
      {{KlSupport::kSelected, "selected"}, {KlSupport::kValid, "valid"}});
}
template <>
constexpr auto option_words<KlReduction>() {
  return std::to_array<OptionWord<KlReduction>>(
      {{KlReduction::kSum, "sum"},
       {KlReduction::kMeanRowsLayers, "mean_rows_layers"},
       {KlReduction::kMeanPositionsLayers, "mean_positions_layers"},
       {KlReduction::kNumItems, "num_items"},
       {KlReduction::kLayerSumOfRowMeans, "layer_sum_of_row_means"}});
}
template <>
constexpr auto option_words<KlGuard>() {
  return std::to_array<OptionWord<KlGuard>>({{KlGuard::kNone, "none"},
                                             {KlGuard::kAddToTarget, "add_to_target"},
                                             {KlGuard::kClampTarget, "clamp_target"},
                                             {KlGuard::kAddToBoth, "add_to_both"},
                                             {KlGuard::kClampLogs, "clamp_logs"}});
}
template <>
constexpr auto option_words<KlPrecision>() {
  return std::to_array<OptionWord<KlPrecision>>(
      {{KlPrecision::kWide, "float32"}, {KlPrecision::kActivation, "activation"}});
}
template <>
constexpr auto option_words<KlDetach>() {
  return std::to_array<OptionWord<KlDetach>>(
      {{KlDetach::kNone, "none"}, {KlDetach::kQOnly, "q_only"}, {KlDetach::kBoth, "both"}});
}
template <>
constexpr auto option_words<BalanceRouting>() {
  return std::to_array<OptionWord<BalanceRouting>>(
      {{BalanceRouting::kUnbiased, "unbiased"}, {BalanceRouting::kActual, "actual"}});
}
template <>
constexpr auto option_words<BalanceScope>() {
  return std::to_array<OptionWord<BalanceScope>>(
      {{BalanceScope::kSequence, "sequence"}, {BalanceScope::kBatch, "batch"}});
}

template <typename Option>
constexpr std::string_view word_of(Option option) {
  for (const OptionWord<Option>& entry : option_words<Option>()) {
    if (entry.option == option) {
      return entry.word;
    }
  }
  return "";
}

template <typename Option>
constexpr std::optional<Option> option_of(std::string_view word) {
  for (const OptionWord<Option>& entry : option_words<Option>()) {
    if (entry.word == word) {
      return entry.option;
    }
  }
  return std::nullopt;
}

}  // namespace sparity::core
