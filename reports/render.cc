#include "reports/render.h"

#include "reports/error_maps.h"
#include "reports/html.h"
#include "reports/html_performance.h"
#include "reports/junit.h"
#include "reports/performance_json.h"
#include "reports/report_json.h"
#include "src/core/file_io.h"
#include "src/core/strict_json.h"
#include "suites/judge/condensed.h"

#include <nlohmann/json.hpp>

namespace sparity::reports {

Rendered render(const Report& report, const std::filesystem::path& folder) {
  const Rendered rendered{folder / "index.html", folder / "junit.xml"};
  core::write_file_atomically(rendered.html, html_page(report));
  core::write_file_atomically(rendered.junit, junit_xml(report));
  return rendered;
}

Rendered render(const std::filesystem::path& report_json) {
  return render(read_report(report_json), report_json.parent_path());
}

Rendered write_all(const Report& report, const std::filesystem::path& folder) {
  // The page shows what the file holds, or rendering the file again would give another one.
  Report kept = with_few_error_maps(report);
  for (judge::CaseRecord& record : kept.cases) {
    judge::condense(record.comparisons);
  }
  write_report(kept, folder / "report.json");
  return render(kept, folder);
}

std::filesystem::path render_performance(const std::vector<std::filesystem::path>& files) {
  Performance performance;
  for (const std::filesystem::path& file : files) {
    add_performance(core::read_json(file), file.string(), performance);
  }
  const std::filesystem::path page = files.at(0).parent_path() / "performance.html";
  core::write_file_atomically(page, performance_page(performance));
  return page;
}

}  // namespace sparity::reports
