#include "reports/html_sections.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <vector>

namespace sparity::reports {

namespace {

using judge::SelectionSummary;

/// Counts come from files: sums stop at the largest integer.
void accumulate(std::int64_t& sum, std::int64_t count) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  sum = count > kMost - sum ? kMost : sum + std::max<std::int64_t>(count, 0);
}

/// Largest margin of a flip over what it may be; 0 without a flip.
double headroom(const SelectionSummary& summary) {
  return summary.worst_margin == 0 ? 0 : summary.worst_margin / summary.allowed_margin;
}

void add(SelectionSummary& sum, const SelectionSummary& each) {
  accumulate(sum.rows, each.rows);
  accumulate(sum.selected, each.selected);
  accumulate(sum.flipped_rows, each.flipped_rows);
  accumulate(sum.flips, each.flips);
  accumulate(sum.baseline_flips, each.baseline_flips);
  accumulate(sum.tied_rows, each.tied_rows);
  // What is not a number is worse than any number.
  if (!(headroom(each) <= headroom(sum))) {
    sum.worst_margin = each.worst_margin;
    sum.allowed_margin = each.allowed_margin;
  }
}

/// One tensor's choices in one suite run, over all its cases.
struct Choice {
  SuiteId suite;
  SelectionSummary sum;
};

std::vector<Choice> choices_of(const Report& report) {
  std::vector<Choice> choices;
  std::map<std::pair<SuiteId, std::string>, std::size_t> positions;
  for (const judge::CaseRecord& record : report.cases) {
    const SuiteId suite{record.suite, record.dtype, record.device};
    for (const SelectionSummary& each : record.selections) {
      const auto [position, added] = positions.try_emplace({suite, each.tensor}, choices.size());
      if (added) {
        choices.push_back({suite, {}});
        choices.back().sum.tensor = each.tensor;
        choices.back().sum.allowed_margin = each.allowed_margin;
      }
      add(choices[position->second].sum, each);
    }
  }
  return choices;
}

std::string share(std::int64_t part, std::int64_t whole) {
  return fmt::format("{} <span class=\"quiet\">of {}</span>", part, whole);
}

}  // namespace

std::string choices_section(const Page& page) {
  const std::vector<Choice> choices = choices_of(page.report);
  if (choices.empty()) {
    return {};
  }
  Table table("Discrete choices", {{"Choice"},
                                   {"Suite"},
                                   {"Margin / allowed"},
                                   {"Worst margin", Table::Align::kNumber},
                                   {"Allowed", Table::Align::kNumber},
                                   {"Flips", Table::Align::kNumber},
                                   {"Baseline's flips", Table::Align::kNumber},
                                   {"Rows that differ", Table::Align::kNumber},
                                   {"Rows tied", Table::Align::kNumber}});
  SelectionSummary total;
  bool excessive = false;
  for (const auto& [suite, sum] : choices) {
    add(total, sum);
    excessive = excessive || !(headroom(sum) <= 1);
    table.row({fmt::format("<code>{}</code>", name_html(sum.tensor)), name_html(label(suite)),
               headroom_html(headroom(sum)), number_html(sum.worst_margin),
               number_html(sum.allowed_margin), share(sum.flips, sum.selected),
               fmt::format("{}", sum.baseline_flips), share(sum.flipped_rows, sum.rows),
               fmt::format("{}", sum.tied_rows)});
  }
  return "<section id=\"choices\">\n<h2>Discrete choices</h2>\n"
         "<p class=\"quiet\">A flip is a key, group or expert chosen otherwise than in truth. "
         "Margins are in units of the row's own score error (ε): a flip within the allowed margin "
         "is explained by rounding.</p>\n" +
         details_html(
             fmt::format("{} of {} flipped{}", total.flips, counted(total.selected, "choice"),
                         excessive ? ", some beyond what rounding explains"
                                   : "; rounding explains every margin"),
             table.html(), excessive) +
         "</section>\n";
}

}  // namespace sparity::reports
