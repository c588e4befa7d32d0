#include "reports/render.h"

#include "reports/html.h"
#include "reports/junit.h"
#include "reports/report_json.h"
#include "src/core/file_io.h"

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
  write_report(report, folder / "report.json");
  return render(report, folder);
}

}  // namespace sparity::reports
