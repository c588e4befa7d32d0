#include "reports/html_sections.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

namespace sparity::reports {

namespace {

using judge::Condition;

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
