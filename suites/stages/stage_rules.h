#pragma once

#include "src/core/tensor_manifest.h"
#include "src/train/trainer.h"
#include "suites/cases/suite_context.h"
#include "suites/judge/record.h"

#include <array>
#include <string>
#include <vector>

namespace sparity::suites::stages {

/// A stage as its definition has it (spec 4.1), written once more: what the candidate makes of it
/// is what is judged.
struct StageRule {
  train::Stage stage;
  bool dense;    // attention
  bool model;    // LM loss, which trains everything but the indexer
  bool indexer;  // KL loss, which trains the indexer
  bool balance;  // balance loss, and biases that follow the experts' load
};

inline constexpr StageRule kDenseWarmupRule{train::Stage::kDenseWarmup, true, false, true, false};
inline constexpr StageRule kSparseRule{train::Stage::kSparse, false, true, true, false};
inline constexpr StageRule kFrozenIndexerRule{train::Stage::kFrozenIndexerSft, false, true, false,
                                              false};
inline constexpr StageRule kIndexerOnlyRule{train::Stage::kIndexerOnly, false, false, true, false};
inline constexpr StageRule kJointRule{train::Stage::kJoint, false, true, true, false};
inline constexpr StageRule kPretrainRule{train::Stage::kPretrain, true, true, false, true};
/// By adapters alone.
inline constexpr StageRule kDualLoraRule{train::Stage::kDualLora, false, true, true, false};

/// Those that train the parameters themselves.
inline constexpr std::array<StageRule, 6> kStageRules = {
    kDenseWarmupRule, kSparseRule, kFrozenIndexerRule, kIndexerOnlyRule, kJointRule, kPretrainRule};

/// "frozen_indexer_sft": the stage's word as part of a case's name.
std::string name_of(const StageRule& rule);

bool is_of_indexer(const core::ParameterSpec& parameter);

/// Whether a step of the stage may change the parameter.
bool may_change(const StageRule& rule, const core::ParameterSpec& parameter);

/// Marks the record as skipped when the inputs or the model lack what the stage's losses are of.
bool skip_where_not_applicable(const cases::SuiteContext& context, const StageRule& rule,
                               judge::CaseRecord& record);

/// A trainer of the suite's weights, copied. `options` are settled and name the suite's dtype.
train::Trainer trainer_of(const cases::SuiteContext& context, const train::TrainOptions& options,
                          const std::vector<tensors::Adapter>& adapters = {});
/// The same in the suite's dtype, with the stage's defaults.
train::Trainer trainer_of(const cases::SuiteContext& context, const StageRule& rule);

}  // namespace sparity::suites::stages
