#pragma once

#include "suites/cases/case.h"
#include "suites/cases/suite_context.h"
#include "suites/judge/record.h"

#include <string>

namespace sparity::cases {

/// Marks the record as skipped, for this reason. True, so that the case can leave.
bool skip(judge::CaseRecord& record, std::string reason);

/// The same where the inputs have no labels, so that there is no LM loss; false where they have.
bool skip_without_labels(const SuiteContext& context, judge::CaseRecord& record);

/// The same for a model that is not the embedded one, where a case trains on all three sides.
bool skip_another_model(const SuiteContext& context, judge::CaseRecord& record);

/// The same where the model has no routed experts; false where it has.
bool skip_without_experts(const SuiteContext& context, judge::CaseRecord& record);

/// The case, skipped on a checkpoint from elsewhere: it judges how Sparity's own implementation
/// goes about its work (memory, threads, being looked at, its derivatives beside its values), which
/// no checkpoint changes. Some of it is not even claimed of every model.
Case of_our_implementation(Case c);

}  // namespace sparity::cases
