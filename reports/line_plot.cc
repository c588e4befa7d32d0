#include "reports/line_plot.h"

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

/// The distance of lines across where a sixth of the axis is `part`: 1, 2 or 5 times a power of
/// ten; 0 for a part without one.
double step_of(double part) {
  if (!std::isnormal(part)) {
    return 0;
  }
  const double power = std::pow(10, std::floor(std::log10(part)));
  const double digits = part / power;
  return power * (digits < 1.5 ? 1 : digits < 3.5 ? 2 : digits < 7.5 ? 5 : 10);
}

/// Where values and places lie in the picture.
class Axes {
 public:
  explicit Axes(const LinePlot& plot)
      : places_(plot.places.size()), linear_(plot.scale == Scale::kLinear) {
    double least = HUGE_VAL;
    double most = -HUGE_VAL;
    const auto include = [&](double value) {
      if (on_axis(value)) {
        least = std::min(least, value);
        most = std::max(most, value);
      } else {
        (value == 0 ? zeros_ : odd_) = true;
      }
    };
    for (const LineSeries& series : plot.series) {
      std::ranges::for_each(series.values, include);
    }
    if (plot.limit) {
      include(*plot.limit);
    }
    empty_ = most < least;
    if (empty_) {
      return;
    }
    if (linear_) {
      span_linearly(least, most);
    } else {
      low_ = std::floor(std::log10(least));
      high_ = std::max(std::ceil(std::log10(most)), low_ + 1);
      step_ = std::max(1, (static_cast<int>(high_ - low_) + 5) / 6);
    }
  }

  /// Whether the scale has a height for it.
  bool on_axis(double value) const { return std::isfinite(value) && (linear_ || value > 0); }

  double x(std::size_t place) const {
    const double inner = kWidth - kLeft - kRight - 24;
    const double share =
        places_ < 2 ? 0.5 : static_cast<double>(place) / static_cast<double>(places_ - 1);
    return kLeft + 12 + inner * share;
  }
  double top() const { return kTop + (odd_ ? kLane : 0); }
  double bottom() const { return kHeight - kBottom - (zeros_ ? kLane : 0); }
  double y(double value) const {
    if (on_axis(value)) {
      return height(linear_ ? value : std::log10(value));
    }
    return value == 0 ? kHeight - kBottom - kLane / 2 + 2 : kTop + kLane / 2 - 2;
  }

  std::string svg() const {
    std::string out;
    const auto line = [&](double at, std::string_view text) {
      out += fmt::format(
          R"(<path class="grid" d="M{} {:.1f}H{}"/><text x="{}" y="{:.1f}" class="tick end">{}</text>)",
          kLeft, at, kWidth - kRight, kLeft - 6, at + 4, text);
    };
    for (int index = 0; !empty_ && index < kMostLines; ++index) {
      // Not through pow where it is an exponent: 10^-320 is no normal number.
      const double at = low_ + index * step_;
      if (!(at <= high_ + step_ / 1000)) {
        break;
      }
      // What is left of 0.3 − 3 · 0.1 is a zero.
      const double shown = std::abs(at) < step_ / 1000 ? 0 : at;
      line(height(at), linear_ ? fmt::format("{:.5g}", shown) : power_of_ten(static_cast<int>(at)));
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
  static constexpr int kMostLines = 20;

  void span_linearly(double least, double most) {
    step_ = step_of(most / 6 - least / 6);
    if (!std::isnormal(step_)) {
      step_ = std::isnormal(most) ? std::abs(most) / 4 : 1;
    }
    low_ = std::floor(least / step_) * step_;
    high_ = std::max(std::ceil(most / step_) * step_, low_ + step_);
    if (!std::isfinite(low_) || !std::isfinite(high_)) {
      low_ = std::min(least, 0.0);
      high_ = std::max(most, 0.0);
    }
  }

  /// Of a value, or of its exponent.
  double height(double at) const {
    // Halves, or the distance of two large numbers is no number.
    const double share = (at / 2 - low_ / 2) / (high_ / 2 - low_ / 2);
    return bottom() - (bottom() - top()) * share;
  }

  std::size_t places_;
  bool linear_;
  bool zeros_ = false;
  bool odd_ = false;
  bool empty_ = false;
  double low_ = 0;  // exponents where the scale is logarithmic, as the next two
  double high_ = 1;
  double step_ = 1;
};

std::string series_svg(const LinePlot& plot, const LineSeries& series, const Axes& axes) {
  constexpr std::size_t kMostWithMarkers = 120;
  std::string path;
  std::string markers;
  bool drawing = false;
  for (std::size_t place = 0; place < std::min(series.values.size(), plot.places.size()); ++place) {
    const double value = series.values[place];
    const bool on_axis = axes.on_axis(value);
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

std::string ticks_svg(const LinePlot& plot, const Axes& axes) {
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

std::string mark_svg(const LinePlot& plot, const Axes& axes) {
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

std::string legend_html(const LinePlot& plot) {
  std::string out = R"(<p class="legend">)";
  for (const LineSeries& series : plot.series) {
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

std::string line_plot_html(const LinePlot& plot) {
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
    if (plot.limit && axes.on_axis(*plot.limit)) {
      out += fmt::format(R"(<path class="limit" d="M{} {:.1f}H{}"/>)", kLeft, axes.y(*plot.limit),
                         kWidth - kRight);
    }
    for (const LineSeries& series : plot.series) {
      out += series_svg(plot, series, axes);
    }
    out += mark_svg(plot, axes);
  }
  return out + "</svg></div>\n";
}

}  // namespace sparity::reports
