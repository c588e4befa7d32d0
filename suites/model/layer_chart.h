#pragma once

#include "suites/cases/case.h"
#include "suites/judge/record.h"

#include <vector>

namespace sparity::suites {

/// Every layer three ways (verification b.4): alone on the truth's input (local), in the free run,
/// and perturbed by one rounding of its input (gain). Adds the local comparisons to `record`;
/// returns a point a layer with what its free error should be, and is, and how that is classified.
std::vector<judge::TracePoint> layer_chart(const cases::SuiteContext& context,
                                           judge::CaseRecord& record);

}  // namespace sparity::suites
