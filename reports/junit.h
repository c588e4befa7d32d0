#pragma once

#include "reports/report.h"

#include <string>

namespace sparity::reports {

/// The report as JUnit XML: a <testsuite> for each suite run that was expected or made, a
/// <testcase> for each case. A failed case is a <failure>; one that crashed, timed out, ran out of
/// memory, was given bad input, is a harness fault or is inconclusive is an <error>; so is a suite
/// run without an outcome, or one that failed otherwise than through its cases, as a case of its
/// own named
/// "(suite run)". Headrooms stand in <system-out>, provenance in <properties>. The totals count the
/// elements that are there. Well-formed XML 1.0 whatever names and messages hold.
std::string junit_xml(const Report& report);

}  // namespace sparity::reports
