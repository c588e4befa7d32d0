#pragma once

#include "suites/cases/case.h"

namespace sparity::suites {

/// Measures what a run of this model on these inputs exercises, and adds the conditions
/// (verification c.4): a required one that isn't met fails the configuration, not the model.
void exercises_what_it_claims(const cases::SuiteContext& context, judge::CaseRecord& record);

}  // namespace sparity::suites
