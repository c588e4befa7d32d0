#pragma once

#include "reports/report.h"

#include <cstddef>

namespace sparity::reports {

/// How many error maps a report keeps of the comparisons that failed first, and how many of the
/// worst besides: 4096 numbers each. The page shows 24.
inline constexpr std::size_t kFirstErrorMaps = 24;
inline constexpr std::size_t kWorstErrorMaps = 24;

/// The report with error maps of the first three failing comparisons of each case, in the order of
/// the suite table, up to `first`, and of the `worst` with the largest headroom among the others.
/// What is left out is added to `error_maps_left_out`; nothing else changes.
Report with_few_error_maps(Report report, std::size_t first = kFirstErrorMaps,
                           std::size_t worst = kWorstErrorMaps);

}  // namespace sparity::reports
