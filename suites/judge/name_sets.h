#pragma once

#include "suites/judge/record.h"

#include <span>
#include <string>
#include <vector>

namespace sparity::judge {

/// Both-ways equality of two sets of output names, counts included: one failed comparison (gate G0)
/// per name that the candidate lacks, that nobody expected, or that one side has twice. Empty when
/// they agree. With nothing expected at all there is nothing to compare: one comparison with a
/// failed "truth" gate. A gradient that is None on one side only is such a name.
std::vector<Comparison> compare_names(std::span<const std::string> candidate,
                                      std::span<const std::string> expected);

}  // namespace sparity::judge
