#include "reports/html_sections.h"
#include "reports/text.h"
#include "suites/judge/outcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

namespace sparity::reports {

namespace {

using judge::Condition;
using judge::SelectionSummary;

std::string share(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? fmt::format("{} <span class=\"quiet\">of {}</span>", part, whole)
                   : fmt::format("{}", part);
}

/// A condition as it came out, and where. Ordered so that what needs attention stands first.
using ConditionKey = std::tuple<bool, bool, std::string, std::string>;  // exercised, optional, …

std::map<ConditionKey, std::vector<std::string>> conditions_by_outcome(const Report& report) {
  std::map<ConditionKey, std::vector<std::string>> found;
  for (const judge::CaseRecord& record : report.cases) {
    const std::string where = label({record.suite, record.dtype, record.device});
    for (const Condition& condition : record.conditions) {
      auto& places =
          found[{condition.exercised, !condition.required, condition.name, condition.detail}];
      if (std::ranges::find(places, where) == places.end()) {
        places.push_back(where);
      }
    }
  }
  return found;
}

std::string condition_status(bool exercised, bool optional) {
  if (exercised) {
    return R"(<span class="st pass"><svg class="i" aria-hidden="true"><use href="#i-pass"/></svg>yes</span>)";
  }
  return fmt::format(
      R"(<span class="st {0}"><svg class="i" aria-hidden="true"><use href="#i-{0}"/></svg>{1}</span>)",
      optional ? "warn" : "odd", optional ? "no" : "no, and required");
}

std::string places_html(const std::vector<std::string>& places) {
  constexpr std::size_t kMost = 4;
  std::string out;
  for (std::size_t index = 0; index < std::min(places.size(), kMost); ++index) {
    out += (index == 0 ? "" : ", ") + name_html(places[index]);
  }
  return places.size() > kMost ? fmt::format("{} and {} more", out, places.size() - kMost) : out;
}

}  // namespace

std::string choices_section(const Page& page) {
  Table table("Discrete choices", {{"Choice"},
                                   {"Suite"},
                                   {"Rows that differ", Table::Align::kNumber},
                                   {"Flips", Table::Align::kNumber},
                                   {"Baseline's flips", Table::Align::kNumber},
                                   {"Rows tied", Table::Align::kNumber},
                                   {"Worst margin", Table::Align::kNumber},
                                   {"Allowed", Table::Align::kNumber},
                                   {"Margin / allowed"}});
  std::int64_t flips = 0;
  std::int64_t selected = 0;
  bool excessive = false;
  for (const judge::CaseRecord& record : page.report.cases) {
    for (const SelectionSummary& each : record.selections) {
      // No flip has no margin, and the headroom of nothing is 0.
      const double headroom = each.worst_margin == 0 ? 0 : each.worst_margin / each.allowed_margin;
      excessive = excessive || !(headroom <= 1);
      flips += each.flips;
      selected += each.selected;
      table.row({fmt::format("<code>{}</code>", name_html(each.tensor)),
                 name_html(label({record.suite, record.dtype, record.device})),
                 share(each.flipped_rows, each.rows), share(each.flips, each.selected),
                 fmt::format("{}", each.baseline_flips), fmt::format("{}", each.tied_rows),
                 number_html(each.worst_margin), number_html(each.allowed_margin),
                 headroom_html(headroom)});
    }
  }
  if (table.empty()) {
    return {};
  }
  return "<section id=\"choices\">\n<h2>Discrete choices</h2>\n"
         "<p class=\"quiet\">A flip is a key, group or expert chosen otherwise than in truth. "
         "Margins "
         "are in units of the row's own score error (ε): a flip within the allowed margin is "
         "explained by rounding.</p>\n" +
         details_html(fmt::format("{} of {} flipped{}", flips, counted(selected, "choice"),
                                  excessive ? ", some beyond what rounding explains"
                                            : "; rounding explains every margin"),
                      table.html(), excessive) +
         "</section>\n";
}

std::string exercised_section(const Page& page) {
  const auto conditions = conditions_by_outcome(page.report);
  if (conditions.empty()) {
    return {};
  }
  Table table("Exercised conditions", {{"Condition"}, {"Exercised?"}, {"Figures"}, {"Where"}});
  std::int64_t unexercised = 0;
  for (const auto& [key, places] : conditions) {
    const auto& [exercised, optional, name, detail] = key;
    unexercised += exercised ? 0 : 1;
    table.row({name_html(name), condition_status(exercised, optional),
               escaped(shortened(detail, 300)), places_html(places)});
  }
  const auto total = static_cast<std::int64_t>(conditions.size());
  const std::string summary =
      unexercised == 0
          ? fmt::format("All {} exercised", counted(total, "condition"))
          : fmt::format("{} of {} not exercised", unexercised, counted(total, "condition"));
  return "<section id=\"exercised\">\n<h2>What the run exercised</h2>\n" +
         details_html(summary, table.html(), unexercised != 0) + "</section>\n";
}

}  // namespace sparity::reports
