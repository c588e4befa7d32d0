#pragma once

#include "src/core/dtype.h"
#include "src/core/optimizer_options.h"
#include "src/model/model.h"
#include "src/train/stage.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace sparity::train {

/// Over which gradients the norm that clips them is taken.
enum class ClipScope {
  kAll,    // "all": one norm, one factor
  kGroup,  // "group": the model's and the indexer's each by itself
};

/// Which parameters weight decay shrinks.
enum class DecayScope {
  kMatrices,  // "matrices": all but the norms' gains and biases
  kAll,       // "all"
};

/// Everything that decides the numbers of a training run, and how often it saves and validates.
struct TrainOptions {
  Stage stage = Stage::kSparse;
  std::int64_t steps = 100;
  std::int64_t batch = 1;       // rows of a micro-batch
  std::int64_t accumulate = 1;  // micro-batches of a step
  core::AdamWOptions adamw;
  std::optional<double> indexer_learning_rate;  // else the model's
  DecayScope decay = DecayScope::kMatrices;
  core::ScheduleOptions schedule{.total_steps = 0};  // 0: `steps`
  double clip = 1.0;                                 // 0: no clipping
  std::optional<double> indexer_clip;                // else the model's
  ClipScope clip_scope = ClipScope::kAll;
  core::KlOptions kl;
  core::BalanceOptions balance;
  double bias_update_rate = 0.0;  // of the routers' biases after a step; 0: they stay
  core::Dtype dtype = core::Dtype::kF32;
  core::Recipe recipe = core::Recipe::kOfficial;
  bool recompute_layers = false;
  std::int64_t seed = 1;
  std::int64_t max_tokens = 0;      // of a row; 0: the model's max_position_embeddings
  std::int64_t save_every = 0;      // 0: only at the end
  std::int64_t validate_every = 0;  // 0: only at the end

  /// What the model computes in this stage; num_items is for the trainer to fill in.
  model::ForwardOptions forward_options() const;
};

/// A stage's options before anybody chose any: coefficients of a stage that has no such loss are 0;
/// `pretrain` balances with 1e-4 and updates biases by 1e-3 (DeepSeek-V3's figures); `dual-lora`
/// clips each adapter by its own norm.
TrainOptions defaults_of(Stage stage);

/// Replaces the options that `object` names; `stage` is refused unless it is that of `options`.
/// Throws (exit code 5, "<source>: <pointer>: expected …, found …") for an unknown member, a value
/// out of range, and an option of a loss that the stage does not have.
void apply(const nlohmann::json& object, const std::string& source, TrainOptions& options);

/// Fills in what follows from other options, and refuses (exit code 5) those that contradict each
/// other. To be called last.
void settle(TrainOptions& options);

/// Every option, as `apply` reads it.
nlohmann::json to_json(const TrainOptions& options);

/// Those that decide a run's numbers: what a resumed run must have in common with the first.
nlohmann::json deciding_options(const TrainOptions& options);

}  // namespace sparity::train

template <>
constexpr auto sparity::core::option_words<sparity::train::ClipScope>() {
  using sparity::train::ClipScope;
  return std::to_array<OptionWord<ClipScope>>(
      {{ClipScope::kAll, "all"}, {ClipScope::kGroup, "group"}});
}
template <>
constexpr auto sparity::core::option_words<sparity::train::DecayScope>() {
  using sparity::train::DecayScope;
  return std::to_array<OptionWord<DecayScope>>(
      {{DecayScope::kMatrices, "matrices"}, {DecayScope::kAll, "all"}});
}
