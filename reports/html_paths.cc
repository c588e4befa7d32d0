#include "reports/html_sections.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

namespace sparity::reports {

namespace {

using judge::GradientPath;
using judge::PathTally;

/// A column: a term of the loss in one suite run.
struct Column {
  std::string loss;
  SuiteId suite;

  bool operator==(const Column&) const = default;
};

/// The cells of every case of the report, in the order that terms and groups appear in.
struct Grid {
  std::vector<Column> columns;
  std::vector<std::string> groups;
  std::map<std::pair<std::size_t, std::size_t>, GradientPath> cells;  // by column and group
};

template <typename Item>
std::size_t place_of(std::vector<Item>& items, const Item& item) {
  const auto found = std::ranges::find(items, item);
  if (found != items.end()) {
    return static_cast<std::size_t>(found - items.begin());
  }
  items.push_back(item);
  return items.size() - 1;
}

void add(PathTally& sum, const PathTally& each) {
  sum.none += each.none;
  sum.zero += each.zero;
  sum.non_zero += each.non_zero;
}

Grid grid_of(const Report& report) {
  Grid grid;
  for (const judge::CaseRecord& record : report.cases) {
    for (const GradientPath& path : record.paths) {
      const Column column{path.loss, {record.suite, record.dtype, record.device}};
      const std::size_t at = place_of(grid.columns, column);
      GradientPath& cell = grid.cells[{at, place_of(grid.groups, path.group)}];
      add(cell.expected, path.expected);
      add(cell.found, path.found);
      cell.agreeing += path.agreeing;
    }
  }
  return grid;
}

/// Numbers of the columns with those of one term of the loss side by side.
std::vector<std::size_t> columns_by_loss(const Grid& grid) {
  std::vector<std::string> losses;
  std::vector<std::pair<std::size_t, std::size_t>> order;
  for (std::size_t at = 0; at < grid.columns.size(); ++at) {
    order.emplace_back(place_of(losses, grid.columns[at].loss), at);
  }
  std::ranges::sort(order);
  std::vector<std::size_t> columns;
  std::ranges::transform(order, std::back_inserter(columns),
                         [](auto entry) { return entry.second; });
  return columns;
}

/// A letter for each kind of gradient that occurs, with counts where there are several.
std::string letters_html(const PathTally& tally) {
  std::string out;
  const bool mixed = std::max({tally.none, tally.zero, tally.non_zero}) != tally.total();
  const auto add_letter = [&](std::int64_t count, std::string_view style, std::string_view letter) {
    if (count > 0) {
      out += fmt::format(R"(<span class="way {}">{}</span>)", style, letter);
      out += mixed ? fmt::format(R"(<span class="many">{}</span>)", count) : std::string();
    }
  };
  add_letter(tally.non_zero, "flows", "✱");
  add_letter(tally.zero, "zero", "0");
  add_letter(tally.none, "none", "N");
  return out;
}

std::string cell_html(const GradientPath& cell) {
  if (cell.holds()) {
    return letters_html(cell.found);
  }
  const std::int64_t wrong = cell.expected.total() - cell.agreeing;
  return fmt::format(
      R"({} {}<br><span class="quiet">expected</span> {}<br><span class="quiet">{} of {}</span>)",
      letters_html(cell.found), status_html(judge::Verdict::kFail), letters_html(cell.expected),
      wrong, counted(cell.expected.total(), "parameter"));
}

std::string grid_html(const Grid& grid) {
  const std::vector<std::size_t> order = columns_by_loss(grid);
  std::vector<Table::Column> columns = {{"Parameters"}};
  for (const std::size_t at : order) {
    const Column& column = grid.columns[at];
    columns.push_back(
        {fmt::format("{}<br>{}", name_html(column.loss), name_html(label(column.suite)))});
  }
  Table table("Gradient paths", std::move(columns));
  for (std::size_t group = 0; group < grid.groups.size(); ++group) {
    std::vector<std::string> cells = {name_html(grid.groups[group])};
    for (const std::size_t at : order) {
      const auto cell = grid.cells.find({at, group});
      cells.push_back(cell == grid.cells.end() ? "–" : cell_html(cell->second));
    }
    table.row(cells);
  }
  return table.html();
}

}  // namespace

std::string paths_section(const Page& page) {
  const Grid grid = grid_of(page.report);
  if (grid.cells.empty()) {
    return {};
  }
  const auto wrong =
      std::ranges::count_if(grid.cells, [](const auto& entry) { return !entry.second.holds(); });
  const auto total = static_cast<std::int64_t>(grid.cells.size());
  const std::string summary =
      wrong == 0 ? fmt::format("{} as expected", counted(total, "path"))
                 : fmt::format("{} of {} not as expected", wrong, counted(total, "path"));
  return "<section id=\"paths\">\n<h2>Gradient paths</h2>\n"
         "<p class=\"quiet\">What each term of the loss leaves at the parameters of each kind: "
         "<span class=\"way flows\">✱</span> a gradient other than zero, "
         "<span class=\"way zero\">0</span> one of exact zeros, "
         "<span class=\"way none\">N</span> none. Numbers count parameters where a kind is "
         "mixed: an expert that no token was sent to has a gradient of zeros.</p>\n" +
         details_html(summary, grid_html(grid), wrong != 0) + "</section>\n";
}

}  // namespace sparity::reports
