#include "reports/html_sections.h"
#include "reports/text.h"
#include "suites/judge/outcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

namespace sparity::reports {

namespace {

/// A dash where a figure would claim something that wasn't measured.
std::string time_html(const SuiteRow& row) {
  return row.run == nullptr ? "–" : duration(row.run->seconds);
}

double worst_headroom(const judge::CaseRecord& record) {
  double worst = 0;
  for (const judge::Comparison& comparison : record.comparisons) {
    worst = std::max(worst, comparison.worst_headroom());
  }
  return worst;
}

std::string case_table(const Page& page, const SuiteRow& row) {
  Table table("Cases of " + label(row.id), {{"Case"},
                                            {"Status"},
                                            {"Configuration"},
                                            {"Recipe"},
                                            {"Seed", Table::Align::kNumber},
                                            {"Comparisons", Table::Align::kNumber},
                                            {"Worst headroom"},
                                            {"Time", Table::Align::kNumber}});
  for (const std::size_t index : row.cases) {
    const judge::CaseRecord& record = page.report.cases[index];
    const judge::Verdict verdict = judge::effective_verdict(record);
    const bool has_card = verdict != judge::Verdict::kPass && verdict != judge::Verdict::kSkip;
    std::string name = name_html(record.name);
    if (has_card) {
      name = fmt::format(R"(<a href="#{}">{}</a>)", page.case_ids[index], name);
    }
    if (verdict == judge::Verdict::kSkip && !record.message.empty()) {
      name += fmt::format(R"(<br><span class="quiet">{}</span>)",
                          escaped(shortened(record.message, 300)));
    }
    table.row({name, status_html(verdict), name_html(record.config), name_html(record.recipe),
               fmt::format("{}", record.seed), fmt::format("{}", record.comparisons.size()),
               record.comparisons.empty() ? "–" : headroom_html(worst_headroom(record)),
               duration(record.seconds)},
              has_card ? std::string_view() : std::string_view(page.case_ids[index]));
  }
  return table.html();
}

std::string skipped_html(const Report& report) {
  if (report.skipped.empty()) {
    return {};
  }
  std::map<std::string, std::vector<const Skipped*>> by_reason;
  for (const Skipped& skipped : report.skipped) {
    by_reason[skipped.reason].push_back(&skipped);
  }
  std::string out = "<h3>Not run</h3>\n";
  for (const auto& [reason, items] : by_reason) {
    Table table("Skipped", {{"Suite"}, {"Dtype"}, {"Device"}, {"Case"}});
    for (const Skipped* item : items) {
      table.row({name_html(item->id.suite), name_html(item->id.dtype), name_html(item->id.device),
                 item->name.empty() ? "the whole suite" : name_html(item->name)});
    }
    out += details_html(
        fmt::format("{} {} – {}", status_html(judge::Verdict::kSkip), items.size(),
                    reason.empty() ? "no reason given" : escaped(shortened(reason, 300))),
        table.html());
  }
  return out;
}

/// Where a click on a suite leads: to its first failure, else to its cases.
std::string best_anchor(const Page& page, const SuiteRow& row) {
  for (const std::size_t index : page.assessment.not_passed) {
    if (std::ranges::find(row.cases, index) != row.cases.end()) {
      return page.case_ids[index];
    }
  }
  return has_own_card(page, row) ? suite_card_anchor(row.id) : suite_anchor(row.id);
}

}  // namespace

std::string suites_section(const Page& page) {
  Table table("Suites", {{"Suite"},
                         {"Dtype"},
                         {"Status"},
                         {"Worst headroom"},
                         {"Cases", Table::Align::kNumber},
                         {"Comparisons", Table::Align::kNumber},
                         {"Time", Table::Align::kNumber},
                         {"Device"}});
  for (const SuiteRow& row : page.assessment.rows) {
    const std::string suite = name_html(row.id.suite) + (row.expected ? "" : " (not expected)");
    table.row({fmt::format(R"(<a href="#{}">{}</a>)", best_anchor(page, row), suite),
               name_html(row.id.dtype), status_html(row, page.report.complete),
               row.comparisons == 0 ? "–" : headroom_html(row.worst_headroom),
               fmt::format("{}", row.cases.size()), fmt::format("{}", row.comparisons),
               time_html(row), name_html(row.id.device)});
  }
  return "<section id=\"suites\">\n<h2>Suites</h2>\n"
         "<p class=\"quiet\">Headroom is the error over what is allowed: up to the mark at 1 "
         "a gate holds. Bars are linear up to the mark and logarithmic beyond.</p>\n" +
         table.html() + "</section>\n";
}

std::string cases_section(const Page& page) {
  std::string out = "<section id=\"cases\">\n<h2>Cases</h2>\n";
  for (const SuiteRow& row : page.assessment.rows) {
    std::string content;
    if (!row.why.empty()) {
      content += fmt::format("<p>{}</p>\n", escaped(shortened(row.why, 600)));
    }
    content += row.cases.empty() ? "<p class=\"quiet\">No case was recorded.</p>\n"
                                 : case_table(page, row);
    out +=
        details_html(fmt::format(R"({} {} <span class="quiet">{}</span>)",
                                 status_html(row, page.report.complete), name_html(label(row.id)),
                                 counted(static_cast<std::int64_t>(row.cases.size()), "case")),
                     content, false, suite_anchor(row.id));
  }
  return out + skipped_html(page.report) + "</section>\n";
}

}  // namespace sparity::reports
