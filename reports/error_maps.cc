#include "reports/error_maps.h"

#include "reports/assessment.h"

#include <algorithm>
#include <functional>
#include <set>
#include <vector>

namespace sparity::reports {

namespace {

using judge::Comparison;

constexpr std::size_t kOfOneCase = 3;

/// Where a reader looks first: the cases that did not pass, in order.
std::set<const Comparison*> first_maps(const Report& report, std::size_t most) {
  std::set<const Comparison*> kept;
  for (const std::size_t index : assess(report).not_passed) {
    std::size_t of_this_case = 0;
    for (const Comparison& comparison : report.cases[index].comparisons) {
      if (comparison.error_map && kept.size() < most && of_this_case < kOfOneCase) {
        kept.insert(&comparison);
        ++of_this_case;
      }
    }
  }
  return kept;
}

}  // namespace

Report with_few_error_maps(Report report, std::size_t first, std::size_t worst) {
  std::set<const Comparison*> kept = first_maps(report, first);
  std::vector<Comparison*> others;
  for (judge::CaseRecord& record : report.cases) {
    for (Comparison& comparison : record.comparisons) {
      if (comparison.error_map && !kept.contains(&comparison)) {
        others.push_back(&comparison);
      }
    }
  }
  std::ranges::stable_sort(others, std::greater(),
                           [](const Comparison* each) { return each->worst_headroom(); });
  for (std::size_t index = worst; index < others.size(); ++index) {
    others[index]->error_map.reset();
    ++report.error_maps_left_out;
  }
  return report;
}

}  // namespace sparity::reports
