#pragma once

#include "src/core/forward_options.h"
#include "src/core/objective.h"
#include "src/core/tensor_manifest.h"

#include <string>

namespace sparity::train {

/// A stage of DeepSeek-V3.2's training (spec 4.1), or one that users of the model want besides.
enum class Stage {
  kDenseWarmup,       // "dense-warmup": the indexer learns every head's dense attention
  kSparse,            // "sparse": selected keys; the model by its LM loss, the indexer by KL alone
  kFrozenIndexerSft,  // "frozen-indexer-sft": selected keys; the model alone, by its LM loss
  kIndexerOnly,       // "indexer-only": selected keys; the indexer alone, by KL
  kJoint,             // "joint": as sparse, with whatever coefficient and detachment one likes
  kPretrain,          // "pretrain": dense attention; the model with balanced routing, no indexer
  kDualLora,  // "dual-lora": selected keys; one adapter on the model, which learns by the LM
              // loss, and one on the indexer, which learns by KL
};

/// What a stage computes and trains.
struct StageRules {
  core::AttentionMode attention = core::AttentionMode::kSparse;
  bool trains_model = false;    // everything but the indexer and the routers' biases
  bool trains_indexer = false;  // wq_b, wk, weights_proj and the key's norm

  bool wants_lm() const { return trains_model; }
  bool wants_kl() const { return trains_indexer; }
};

StageRules rules_of(Stage stage);

/// Whether gradients train a parameter of this role. Never a router's bias: that is updated from
/// the experts' load (ops::updated_bias), where the stage does so.
bool trains(Stage stage, core::ParameterRole role);

/// The indexer's matrices and the norm of its key.
bool is_indexer(core::ParameterRole role);

/// The stage of that name. Throws (exit code 5, starting with `source`) for any other.
Stage stage_from_string(const std::string& name, const std::string& source);

}  // namespace sparity::train

template <>
constexpr auto sparity::core::option_words<sparity::train::Stage>() {
  using sparity::train::Stage;
  return std::to_array<OptionWord<Stage>>({{Stage::kDenseWarmup, "dense-warmup"},
                                           {Stage::kSparse, "sparse"},
                                           {Stage::kFrozenIndexerSft, "frozen-indexer-sft"},
                                           {Stage::kIndexerOnly, "indexer-only"},
                                           {Stage::kJoint, "joint"},
                                           {Stage::kPretrain, "pretrain"},
                                           {Stage::kDualLora, "dual-lora"}});
}
