#include "reports/log_plot.h"

#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace sparity::reports {

namespace {

constexpr double kWidth = 720;
constexpr double kHeight = 220;
constexpr double kLeft = 52;
constexpr double kRight = 12;
constexpr double kTop = 28;  // room for the name of the mark
constexpr double kBottom = 26;
constexpr double kLane = 18;  // height of the lanes for what has no logarithm

/// "10⁻³"
std::string power_of_ten(int exponent) {
  constexpr std::string_view kDigits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out = exponent < 0 ? "10⁻" : "10";
  for (const char digit : fmt::format("{}", std::abs(exponent))) {
    out += kDigits[digit - '0'];
  }
  return out;
}

bool has_logarithm(double value) { return std::isfinite(value) && value > 0; }

/// Where values and places lie in the picture.
class Axes {
 public:
  explicit Axes(const LogPlot& plot) : places_(plot.places.size()) {
    double least = HUGE_VAL;
    double most = 0;
    const auto include = [&](double value) {
      if (has_logarithm(value)) {
        least = std::min(least, value);
        most = std::max(most, value);
      } else {
        (value == 0 ? zeros_ : odd_) = true;
      }
    };
    for (const LogSeries& series : plot.series) {
      std::ranges::for_each(series.values, include);
    }
    if (plot.limit) {
      include(*plot.limit);
    }
    empty_ = most == 0;
    low_ = empty_ ? -1 : static_cast<int>(std::floor(std::log10(least)));
    high_ = empty_ ? 0 : std::max(static_cast<int>(std::ceil(std::log10(most))), low_ + 1);
  }

  double x(std::size_t place) const {
    const double inner = kWidth - kLeft - kRight - 24;
    const double share =
        places_ < 2 ? 0.5 : static_cast<double>(place) / static_cast<double>(places_ - 1);
    return kLeft + 12 + inner * share;
  }
  double top() const { return kTop + (odd_ ? kLane : 0); }
  double bottom() const { return kHeight - kBottom - (zeros_ ? kLane : 0); }
  double y(double value) const {
    if (value == 0) {
      return kHeight - kBottom - kLane / 2 + 2;
    }
    if (!has_logarithm(value)) {
      return kTop + kLane / 2 - 2;
    }
    const double share = (std::log10(value) - low_) / (high_ - low_);
    return bottom() - (bottom() - top()) * share;
  }

  std::string svg() const {
    std::string out;
    const int step = std::max(1, (high_ - low_ + 5) / 6);
    const auto line = [&](double at, std::string_view text) {
      out += fmt::format(
          R"(<path class="grid" d="M{} {:.1f}H{}"/><text x="{}" y="{:.1f}" class="tick end">{}</text>)",
          kLeft, at, kWidth - kRight, kLeft - 6, at + 4, text);
    };
    for (int exponent = low_; !empty_ && exponent <= high_; exponent += step) {
      // Not through pow: 10^-320 is no normal number.
      line(bottom() - (bottom() - top()) * (exponent - low_) / (high_ - low_),
           power_of_ten(exponent));
    }
    if (zeros_) {
      line(y(0), "0");
    }
    if (odd_) {
      line(y(HUGE_VAL), "not finite");
    }
    return out;
  }

 private:
  std::size_t places_;
  bool zeros_ = false;
  bool odd_ = false;
  bool empty_ = false;
  int low_ = 0;
  int high_ = 1;
};

std::string series_svg(const LogPlot& plot, const LogSeries& series, const Axes& axes) {
  constexpr std::size_t kMostWithMarkers = 120;
  std::string path;
  std::string markers;
  bool drawing = false;
  for (std::size_t place = 0; place < std::min(series.values.size(), plot.places.size()); ++place) {
    const double value = series.values[place];
    const bool on_axis = has_logarithm(value);
    if (on_axis) {
      path += fmt::format("{}{:.1f} {:.1f}", drawing ? "L" : "M", axes.x(place), axes.y(value));
    }
    drawing = on_axis;
    if (!on_axis || plot.places.size() <= kMostWithMarkers || plot.marked == place) {
      markers +=
          fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}: {} {}</title></circle>)",
                      axes.x(place), axes.y(value), on_axis ? "2.6" : "3.4",
                      name_html(plot.places[place]), escaped(series.name), number(value));
    }
  }
  return fmt::format(R"(<g class="series {}">{}{}</g>)", series.style,
                     path.empty() ? path : fmt::format(R"(<path d="{}"/>)", path), markers);
}

std::string ticks_svg(const LogPlot& plot, const Axes& axes) {
  constexpr double kLeastDistance = 46;
  std::string out;
  double last = -kLeastDistance;
  for (std::size_t place = 0; place < std::min(plot.ticks.size(), plot.places.size()); ++place) {
    const double x = axes.x(place);
    if (!plot.ticks[place].empty() && x - last >= kLeastDistance) {
      out += fmt::format(
          R"(<path class="grid" d="M{0:.1f} {1}v5"/><text x="{0:.1f}" y="{2}" class="tick {4}">{3}</text>)",
          x, kHeight - kBottom, kHeight - kBottom + 18, escaped(shortened(plot.ticks[place], 24)),
          // Beside the right edge half a name would be cut off.
          place > 0 && place + 1 == plot.places.size() ? "end" : "mid");
      last = x;
    }
  }
  return out;
}

std::string mark_svg(const LogPlot& plot, const Axes& axes) {
  if (!plot.marked || *plot.marked >= plot.places.size()) {
    return {};
  }
  const double x = axes.x(*plot.marked);
  const char* anchor = x > kWidth * 0.66 ? "end" : x < kWidth * 0.33 ? "" : "mid";
  return fmt::format(
      R"(<path class="here" d="M{0:.1f} {1}V{2}"/><text x="{0:.1f}" y="{3}" class="here {4}">▼ {5}</text>)",
      x, kTop - 8, kHeight - kBottom, kTop - 12, anchor,
      escaped(shortened(plot.places[*plot.marked], 60)));
}

std::string legend_html(const LogPlot& plot) {
  std::string out = R"(<p class="legend">)";
  for (const LogSeries& series : plot.series) {
    out += fmt::format(
        R"(<span><svg class="swatch" viewBox="0 0 28 10" aria-hidden="true"><g class="series {}"><path d="M1 5H27"/><circle cx="14" cy="5" r="2.6"/></g></svg>{}</span> )",
        series.style, escaped(series.name));
  }
  if (plot.limit) {
    out +=
        R"(<span><svg class="swatch" viewBox="0 0 28 10" aria-hidden="true"><path class="limit" d="M1 5H27"/></svg>limit</span>)";
  }
  return out + "</p>\n";
}

}  // namespace

std::string log_plot_html(const LogPlot& plot) {
  const Axes axes(plot);
  std::string out = legend_html(plot);
  out += fmt::format(
      R"(<div class="box plot" role="region" tabindex="0" aria-label="{1}"><svg viewBox="0 0 {2} {3}" )"
      R"(role="img" aria-labelledby="{0}-t {0}-d"><title id="{0}-t">{1}</title><desc id="{0}-d">{4}</desc>)",
      plot.id, escaped(plot.title), kWidth, kHeight, escaped(plot.description));
  if (plot.places.empty()) {
    out += fmt::format(R"(<text x="{}" y="{}" class="tick mid">nothing to plot</text>)", kWidth / 2,
                       kHeight / 2);
  } else {
    out += axes.svg() + ticks_svg(plot, axes);
    if (plot.limit && has_logarithm(*plot.limit)) {
      out += fmt::format(R"(<path class="limit" d="M{} {:.1f}H{}"/>)", kLeft, axes.y(*plot.limit),
                         kWidth - kRight);
    }
    for (const LogSeries& series : plot.series) {
      out += series_svg(plot, series, axes);
    }
    out += mark_svg(plot, axes);
  }
  return out + "</svg></div>\n";
}

}  // namespace sparity::reports
