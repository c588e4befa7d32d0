#pragma once

#include "reports/report.h"

#include <filesystem>
#include <vector>

namespace sparity::reports {

/// Where the renderings of a report lie.
struct Rendered {
  std::filesystem::path html;   // index.html
  std::filesystem::path junit;  // junit.xml
};

/// Writes index.html and junit.xml into `folder`, each atomically.
Rendered render(const Report& report, const std::filesystem::path& folder);

/// Reads a report.json and renders it into the folder that it lies in.
Rendered render(const std::filesystem::path& report_json);

/// Writes report.json, with few error maps (error_maps.h), then its renderings, into `folder`,
/// which must exist. A process killed between two of them leaves each file whole, old or new;
/// report.json is never older than the others.
Rendered write_all(const Report& report, const std::filesystem::path& folder);

/// Reads files of performance figures, at most one of each kind (performance_json.h), and writes
/// performance.html beside the first of them, atomically. Returns where it lies.
std::filesystem::path render_performance(const std::vector<std::filesystem::path>& files);

}  // namespace sparity::reports
