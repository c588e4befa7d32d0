#include "reports/html.h"

#include "reports/assessment.h"
#include "reports/html_sections.h"
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

constexpr std::size_t kSections = 11;

std::string navigation(const std::array<Section, kSections>& sections) {
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
  const std::array<Section, kSections> sections = {{
      {"suites", "Suites", suites_section(page)},
      {"failures", "Failures", failures_section(page)},
      {"layers", "Along the model", layers_section(page)},
      {"choices", "Choices", choices_section(page)},
      {"gradients", "Gradients", gradients_section(page)},
      {"paths", "Gradient paths", paths_section(page)},
      {"curves", "Loss curves", curves_section(page)},
      {"kl-readings", "KL reductions", kl_readings_section(page)},
      {"exercised", "Exercised", exercised_section(page)},
      {"cases", "Cases", cases_section(page)},
      {"provenance", "Provenance", provenance_section(page)},
  }};
  std::string body =
      navigation(sections) + "<main>\n" + banner_section(page) + counts_section(page);
  for (const Section& section : sections) {
    body += section.html;
  }
  const std::string title = fmt::format("{} – Sparity, {}", words(assessment.verdict),
                                        name_html(report.provenance.config_name));
  return document_html(title, R"(<a class="skip-link" href="#verdict">Skip to the verdict</a>)",
                       body + "</main>\n" + footer(report));
}

}  // namespace sparity::reports
