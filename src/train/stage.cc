#include "src/train/stage.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/core/strict_json.h"
#include "src/train/option_fields.h"

#include <fmt/format.h>

namespace sparity::train {

using core::AttentionMode;
using core::ParameterRole;

StageRules rules_of(Stage stage) {
  switch (stage) {
    case Stage::kDenseWarmup:
      return {AttentionMode::kDense, /*trains_model=*/false, /*trains_indexer=*/true};
    case Stage::kSparse:
    case Stage::kJoint:
    case Stage::kDualLora:
      return {AttentionMode::kSparse, /*trains_model=*/true, /*trains_indexer=*/true};
    case Stage::kFrozenIndexerSft:
      return {AttentionMode::kSparse, /*trains_model=*/true,
              /*trains_indexer=*/core::planted(core::Fault::kF27IndexerNotFrozen)};
    case Stage::kIndexerOnly:
      return {AttentionMode::kSparse, /*trains_model=*/false, /*trains_indexer=*/true};
    case Stage::kPretrain:
      // An indexer that has learnt nothing yet would choose keys at random.
      return {AttentionMode::kDense, /*trains_model=*/true, /*trains_indexer=*/false};
  }
  return {};
}

bool is_indexer(ParameterRole role) {
  return role == ParameterRole::kIndexer || role == ParameterRole::kIndexerNormGain ||
         role == ParameterRole::kIndexerNormBias;
}

bool trains(Stage stage, ParameterRole role) {
  const StageRules rules = rules_of(stage);
  return role != ParameterRole::kRouterBias &&
         (is_indexer(role) ? rules.trains_indexer : rules.trains_model);
}

Stage stage_from_string(const std::string& name, const std::string& source) {
  const std::optional<Stage> stage = core::option_of<Stage>(name);
  SPARITY_CHECK_INPUT(stage, fmt::format("{}: /stage: expected one of {}, found {}", source,
                                         listed_words<Stage>(), core::quote(name)));
  return *stage;
}

}  // namespace sparity::train
