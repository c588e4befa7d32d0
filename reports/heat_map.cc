#include "reports/heat_map.h"

#include "reports/html_parts.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace sparity::reports {

namespace {

struct Level {
  double most;  // share of the allowance, inclusive
  const char* colour;
  const char* words;
};

constexpr std::array kLevels = {
    Level{0, "#0b1f3a", "0"},           Level{1.0 / 16, "#1d3d6b", "to 1/16"},
    Level{0.25, "#3d5c8a", "to 1/4"},   Level{1, "#6f86a8", "to the limit"},
    Level{4, "#b8973c", "to 4×"},       Level{64, "#d9b33a", "to 64×"},
    Level{4096, "#f2d33f", "to 4096×"}, Level{HUGE_VAL, "#fff3a0", "more"},
};
constexpr std::size_t kNotFinite = kLevels.size();

std::size_t level_of(double cell) {
  if (!std::isfinite(cell)) {
    return kNotFinite;
  }
  std::size_t level = 0;
  while (cell > kLevels[level].most) {
    ++level;
  }
  return level;
}

const char* colour_of(std::size_t level) {
  return level == kNotFinite ? "#e5484d" : kLevels[level].colour;
}

/// One path for each level, its cells joined into runs: a 64 × 64 map stays below 60 kB.
std::string cells_svg(const judge::ErrorMap& map) {
  std::array<std::string, kLevels.size() + 1> paths;
  for (std::int64_t row = 0; row < map.rows; ++row) {
    for (std::int64_t column = 0; column < map.columns;) {
      const auto level_at = [&](std::int64_t at) {
        return level_of(map.cells[static_cast<std::size_t>(row * map.columns + at)]);
      };
      std::int64_t end = column + 1;
      while (end < map.columns && level_at(end) == level_at(column)) {
        ++end;
      }
      paths[level_at(column)] +=
          fmt::format("M{} {}h{}v1h-{}z", column, row, end - column, end - column);
      column = end;
    }
  }
  std::string out;
  for (std::size_t level = 0; level < paths.size(); ++level) {
    if (!paths[level].empty()) {
      out += fmt::format(R"(<path fill="{}" d="{}"/>)", colour_of(level), paths[level]);
    }
  }
  return out;
}

std::string legend_html(const judge::ErrorMap& map) {
  std::string out = R"(<p class="legend">Error over what an element is allowed: )";
  for (std::size_t level = 0; level < kLevels.size(); ++level) {
    out += fmt::format(
        R"(<span><svg class="key" viewBox="0 0 10 10" aria-hidden="true"><path fill="{}" d="M0 0h10v10H0z"/></svg>{}</span> )",
        kLevels[level].colour, kLevels[level].words);
  }
  if (std::ranges::any_of(map.cells, [](double cell) { return !std::isfinite(cell); })) {
    out += fmt::format(
        R"(<span><svg class="key" viewBox="0 0 10 10" aria-hidden="true"><path fill="{}" d="M0 0h10v10H0z"/></svg>not finite</span>)",
        colour_of(kNotFinite));
  }
  return out + "</p>\n";
}

/// Largest cell of [row0, row1) × [column0, column1); what is not finite beats every number.
double block_maximum(const judge::ErrorMap& map, std::int64_t row0, std::int64_t row1,
                     std::int64_t column0, std::int64_t column1) {
  double most = 0;
  for (std::int64_t row = row0; row < row1; ++row) {
    for (std::int64_t column = column0; column < column1; ++column) {
      const double cell = map.cells[static_cast<std::size_t>(row * map.columns + column)];
      most = std::isfinite(cell) ? std::max(most, cell) : HUGE_VAL;
    }
  }
  return most;
}

/// Rows that read "0–7", one for each of at most 8 × 8 blocks.
std::string table_html(const judge::ErrorMap& map, const std::string& tensor) {
  const std::int64_t row_blocks = std::min<std::int64_t>(map.rows, 8);
  const std::int64_t column_blocks = std::min<std::int64_t>(map.columns, 8);
  Table table("Largest error of blocks of " + shortened(tensor),
              {{"Row bins"}, {"Column bins"}, {"Error over allowance", Table::Align::kNumber}});
  for (std::int64_t row = 0; row < row_blocks; ++row) {
    const std::int64_t row0 = row * map.rows / row_blocks;
    const std::int64_t row1 = (row + 1) * map.rows / row_blocks;
    for (std::int64_t column = 0; column < column_blocks; ++column) {
      const std::int64_t column0 = column * map.columns / column_blocks;
      const std::int64_t column1 = (column + 1) * map.columns / column_blocks;
      const double most = block_maximum(map, row0, row1, column0, column1);
      if (most > 1) {
        table.row({fmt::format("{}–{}", row0, row1 - 1), fmt::format("{}–{}", column0, column1 - 1),
                   number_html(most)});
      }
    }
  }
  return details_html("Blocks over the limit, as a table",
                      table.empty() ? "<p>No block is over the limit.</p>\n" : table.html());
}

}  // namespace

std::string heat_map_html(const judge::ErrorMap& map, const std::string& id,
                          const std::string& tensor) {
  const bool sound = map.rows > 0 && map.columns > 0 && map.rows <= 64 && map.columns <= 64 &&
                     map.cells.size() == static_cast<std::size_t>(map.rows * map.columns);
  if (!sound) {
    return "<p class=\"quiet\">No error map: the tensor has no elements to show.</p>\n";
  }
  const std::string title = "Where " + shortened(tensor) + " is off";
  return legend_html(map) +
         fmt::format(
             R"(<svg class="heat" viewBox="0 0 {0} {1}" height="{2}" preserveAspectRatio="none" )"
             R"(shape-rendering="crispEdges" role="img" aria-labelledby="{3}-t {3}-d">)"
             R"(<title id="{3}-t">{4}</title><desc id="{3}-d">{0} by {1} bins of the tensor as a matrix: )"
             R"(the last dimension runs from left to right, everything before it from top to bottom. )"
             R"(Each bin shows its largest error.</desc>{5}</svg>)"
             "\n<p class=\"quiet\">Top to bottom: rows ({1} bins). Left to right: last dimension "
             "({0} bins).</p>\n",
             map.columns, map.rows, std::clamp<std::int64_t>(map.rows * 8, 28, 280), id,
             escaped(title), cells_svg(map)) +
         table_html(map, tensor);
}

}  // namespace sparity::reports
