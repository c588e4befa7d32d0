#pragma once

#include "src/core/model_config.h"
#include "suites/judge/record.h"
#include "suites/judge/tensor.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sparity::judge {

/// What a run measured about itself. A fact that is absent gives no condition.
struct ExercisedFacts {
  /// Tokens of each batch row, padding excluded.
  std::vector<std::int64_t> sequence_lengths;
  /// Different ids among the tokens: the independent samples of rounding that the run holds.
  std::optional<std::int64_t> distinct_tokens;
  /// Tokens that each expert received, one vector per MoE layer.
  std::vector<std::vector<std::int64_t>> tokens_per_expert;
  /// e_score_correction_bias of every MoE layer, in turn.
  std::vector<double> selection_bias;
  /// The gains of each norm, and each bias that is added to activations: one vector a parameter.
  std::vector<std::vector<double>> norm_gains;
  std::vector<std::vector<double>> biases;
  /// Entropy of an attention row over log of its number of keys, one per row of more than one key.
  std::vector<double> entropy_shares;
  /// Flips of the baseline against truth: without any, S4 judges nothing.
  std::optional<std::int64_t> baseline_flips;
  /// Truth tensors that were compared.
  struct TruthFact {
    std::string tensor;
    double rms = 0;
    bool constant = false;  // all elements equal, of more than one
  };
  std::vector<TruthFact> truths;
  /// Comparisons made, and the least that the suite expects.
  std::optional<std::int64_t> comparisons;
  std::int64_t expected_comparisons = 1;
};

/// Entropy shares between which attention is neither one-hot nor uniform, and the part of rows
/// asked for.
inline constexpr double kLowEntropy = 0.2;
inline constexpr double kHighEntropy = 0.9;
inline constexpr double kRowsInEntropyRange = 0.5;
/// Part of (query, key) pairs that the sparse choice must exclude.
inline constexpr double kExcludedPairs = 0.25;
/// Part of every norm's gains that must differ from 1, and of every bias from 0. Not all of them: a
/// drawn gain is exactly 1 now and then, in bfloat16 one in a hundred.
inline constexpr double kTellingParameters = 0.5;

/// Rows "exercised? yes/no" of what can be told from the config and the facts (verification
/// specification, c.4). `required` is true for embedded configurations and false for a user's
/// checkpoint.
std::vector<Condition> conditions_of(const core::ModelConfig& config, const ExercisedFacts& facts,
                                     bool required);

/// ρ and constancy of a truth tensor.
ExercisedFacts::TruthFact truth_fact(std::string tensor, const Tensor& truth);

}  // namespace sparity::judge
