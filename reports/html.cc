#include "reports/html.h"

#include "reports/assessment.h"
#include "reports/html_sections.h"
#include "reports/html_style.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

namespace sparity::reports {

namespace {

struct Section {
  std::string_view id;
  std::string_view title;
  std::string html;
};

std::string navigation(const std::array<Section, 7>& sections) {
  std::string out = "<nav aria-label=\"Sections\"><ul>";
  for (const Section& section : sections) {
    if (!section.html.empty()) {
      out += fmt::format("<li><a href=\"#{}\">{}</a></li>", section.id, section.title);
    }
  }
  return out + "</ul></nav>\n";
}

std::string footer(const Report& report) {
  const std::string& when = report.complete ? report.finished_utc : report.started_utc;
  return fmt::format("<footer>Sparity {} · {} {}</footer>\n",
                     escaped(shortened(report.tool_version, 60)),
                     report.complete ? "finished" : "started, not finished,",
                     when.empty() ? "at an unrecorded time" : escaped(shortened(when, 60)));
}

}  // namespace

std::string html_page(const Report& report) {
  const Assessment assessment = assess(report);
  const Page page{report, assessment, case_anchors(report)};
  const std::array<Section, 7> sections = {{
      {"suites", "Suites", suites_section(page)},
      {"failures", "Failures", failures_section(page)},
      {"layers", "Along the model", layers_section(page)},
      {"choices", "Choices", choices_section(page)},
      {"exercised", "Exercised", exercised_section(page)},
      {"cases", "Cases", cases_section(page)},
      {"provenance", "Provenance", provenance_section(page)},
  }};
  std::string out = fmt::format(
      R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{} – Sparity, {}</title>
<style>
{}</style>
</head>
<body>
<a class="skip-link" href="#verdict">Skip to the verdict</a>
)",
      words(assessment.verdict), name_html(report.provenance.config_name), stylesheet());
  out += status_shapes() + navigation(sections) + "<main>\n" + banner_section(page) +
         counts_section(page);
  for (const Section& section : sections) {
    out += section.html;
  }
  return out + "</main>\n" + footer(report) + "</body>\n</html>\n";
}

}  // namespace sparity::reports
