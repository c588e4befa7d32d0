#pragma once

#include "reports/report.h"

#include <string>

namespace sparity::reports {

/// The report as one HTML page: no script, no request, every style and drawing inline, readable
/// from disk, on paper, on a phone and by a screen reader, in light and dark. What leads to a
/// failure is open and linked from the verdict; what a passing run has to say about itself folds
/// up. Names and messages are untrusted and come out harmless (text.h). Stays below 5 MB for runs
/// of thousands of cases; what is left out is counted and stands in report.json.
std::string html_page(const Report& report);

}  // namespace sparity::reports
