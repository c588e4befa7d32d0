#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace sparity::reports {

/// One line of a plot: one value for each place on the x axis.
struct LineSeries {
  std::string name;   // plain text
  std::string style;  // CSS class: "truth", "candidate", "baseline", "predicted" or "worst"
  std::vector<double> values;
};

/// How values become heights.
enum class Scale { kLogarithmic, kLinear };

/// Values over ordered places.
struct LinePlot {
  std::string id;  // unique in the page
  std::string title;
  Scale scale = Scale::kLogarithmic;
  std::string description;            // one sentence for those who don't see it
  std::vector<std::string> places;    // name of each place
  std::vector<std::string> ticks;     // label under each place; empty for none
  std::vector<LineSeries> series;     // as long as `places`
  std::optional<double> limit;        // a line across
  std::optional<std::size_t> marked;  // a place to point at
};

/// The plot as inline SVG with title and description, its legend, and no table. What is not finite
/// stands on a line of its own above the axis. So does what is negative where the scale is
/// logarithmic, and zeros stand on one below it then. Any
/// number of places, none included, gives a well-formed figure.
std::string line_plot_html(const LinePlot& plot);

}  // namespace sparity::reports
