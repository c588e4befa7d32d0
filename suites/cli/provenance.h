#pragma once

#include "reports/report.h"
#include "suites/cli/check_run.h"

#include <string>

namespace sparity::cli {

/// "2026-01-31T09:30:00Z".
std::string utc_now();

/// What the first line of /proc/cpuinfo's model name says.
std::string processor_name();

/// Version, start, command line, compiler and machine: what every report's head has.
void fill_build(reports::Report& report);

/// Opens the model's config and inputs, refuses what can't run (exit code 5), and fills in the
/// report's head: version, start, command line, build, machine, model, seed. Settles `jobs` where
/// none were asked for.
void fill_provenance(CheckOptions& options, reports::Report& report);

}  // namespace sparity::cli
