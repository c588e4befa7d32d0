#pragma once

#include "src/core/objective.h"
#include "suites/cases/gradients.h"
#include "suites/cases/suite_context.h"
#include "suites/judge/record.h"

#include <optional>
#include <string>
#include <vector>

namespace sparity::suites::training {

/// One side's evaluation of an objective, with every choice and every KL target it made.
struct ObjectiveTrace {
  cases::ObjectiveRun run;
  cases::BackwardTrace shown;                   // the trace, and the gradients of the parameters
  std::vector<cases::ObjectiveRun> again = {};  // of an honest side: with other roundings
};

ObjectiveTrace trace_objective(const cases::SuiteContext& context, const cases::BoundModel& model,
                               core::AttentionMode mode, const core::Objective& objective,
                               const cases::Forced& forced = {});

/// The candidate, left to its own choices, then baseline and truth under the same ones.
struct ObjectiveSides {
  ObjectiveTrace candidate;
  ObjectiveTrace baseline;
  ObjectiveTrace truth;
  /// Index products that the KL loss differentiates, and those whose sign this dtype cannot tell.
  std::int64_t signs = 0;
  std::int64_t undecided_signs = 0;
};
ObjectiveSides run_objective(const cases::SuiteContext& context, core::AttentionMode mode,
                             const core::Objective& objective);

/// A candidate's evaluation, which may be a sum of several, beside what judges it.
struct ObjectiveValues {
  const cases::ObjectiveRun& candidate;
  const ObjectiveTrace& baseline;
  const ObjectiveTrace& truth;
};

/// Judges a value [] or [L]; nothing where the truth has none and the candidate neither. `honest`
/// is the baseline's, and further honest runs'. `magnitude` is the size of what was summed, where
/// it may cancel.
void judge_value(const cases::SuiteContext& context, const std::string& name,
                 const at::Tensor& candidate, const std::vector<at::Tensor>& honest,
                 const at::Tensor& truth, judge::CaseRecord& record,
                 std::optional<double> magnitude = std::nullopt);

/// The same of a value of an objective. `magnitude` is the size of what was summed, where it may
/// cancel.
void judge_value(const cases::SuiteContext& context, const std::string& name,
                 at::Tensor cases::ObjectiveRun::*value, const ObjectiveValues& values,
                 judge::CaseRecord& record, std::optional<double> magnitude = std::nullopt);

/// Judges the KL loss and its sums by layer. Of few tokens the size of what was summed counts: a
/// row's terms p·ln p and p·ln q are up to ln T each, and cancel.
void judge_kl(const cases::SuiteContext& context, const ObjectiveValues& values,
              judge::CaseRecord& record);

/// Judges the losses and their parts, the KL targets, and the gradient of every parameter.
void judge_objective(const cases::SuiteContext& context, const ObjectiveSides& sides,
                     judge::CaseRecord& record);

/// With both of the indexer's inputs cut, the LM and the KL loss have disjoint parameters: each
/// one's gradients beside the other are those it leaves alone, bit for bit. Skips without labels.
void judge_disjoint_losses(const cases::SuiteContext& context, judge::CaseRecord& record);

}  // namespace sparity::suites::training
