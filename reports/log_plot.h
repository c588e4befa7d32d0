#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace sparity::reports {

/// One line of a plot: one value for each place on the x axis.
struct LogSeries {
  std::string name;   // plain text
  std::string style;  // CSS class: "candidate", "baseline", "predicted" or "worst"
  std::vector<double> values;
};

/// Values over ordered places, on a logarithmic y axis.
struct LogPlot {
  std::string id;  // unique in the page
  std::string title;
  std::string description;            // one sentence for those who don't see it
  std::vector<std::string> places;    // name of each place
  std::vector<std::string> ticks;     // label under each place; empty for none
  std::vector<LogSeries> series;      // as long as `places`
  std::optional<double> limit;        // a line across
  std::optional<std::size_t> marked;  // a place to point at
};

/// The plot as inline SVG with title and description, its legend, and no table. Zeros stand on a
/// line of their own below the axis; what is not finite, or negative, stands on one above it. Any
/// number of places, none included, gives a well-formed figure.
std::string log_plot_html(const LogPlot& plot);

}  // namespace sparity::reports
