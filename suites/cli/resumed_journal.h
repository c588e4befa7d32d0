#pragma once

#include "reports/report.h"
#include "suites/judge/record.h"

#include <filesystem>
#include <vector>

namespace sparity::cli {

/// The journal's records of what `report` expects; those of other suites and dtypes, which an
/// earlier run left, are not this run's. Throws (exit code 5) for a record that a run with the
/// report's head does not write: of another config, seed or recipe.
std::vector<judge::CaseRecord> records_of_run(const std::filesystem::path& journal,
                                              const reports::Report& report);

}  // namespace sparity::cli
