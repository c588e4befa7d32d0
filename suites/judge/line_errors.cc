#include "suites/judge/line_errors.h"

#include "suites/judge/error_stats.h"
#include "suites/judge/tolerances.h"

#include <algorithm>
#include <cmath>

namespace sparity::judge {

namespace {

/// Where the cells of the lines along one axis lie.
class Lines {
 public:
  Lines(Axis axis, const Tensor& tensor)
      : count_(axis == Axis::kRow ? tensor.rows() : tensor.columns()),
        length_(axis == Axis::kRow ? tensor.columns() : tensor.rows()),
        line_stride_(axis == Axis::kRow ? tensor.columns() : 1),
        cell_stride_(axis == Axis::kRow ? 1 : tensor.columns()) {}

  std::size_t count() const { return length_ < kCellsOfALine ? 0 : count_; }
  std::size_t length() const { return length_; }
  std::size_t cell(std::size_t line, std::size_t k) const {
    return line * line_stride_ + k * cell_stride_;
  }

 private:
  std::size_t count_;
  std::size_t length_;
  std::size_t line_stride_;
  std::size_t cell_stride_;
};

/// ρ over the line's cells where both are finite; with `minus` null of x itself.
double rms_of_line(const Lines& lines, std::size_t line, const Tensor& x, const Tensor* minus) {
  double scale = 0;
  const auto value = [&](std::size_t k) {
    const std::size_t cell = lines.cell(line, k);
    const double difference = x.values[cell] - (minus == nullptr ? 0.0 : minus->values[cell]);
    return std::isfinite(difference) ? difference : 0.0;
  };
  for (std::size_t k = 0; k < lines.length(); ++k) {
    scale = std::max(scale, std::abs(value(k)));
  }
  if (scale == 0) {
    return 0;
  }
  CompensatedSum squares;
  for (std::size_t k = 0; k < lines.length(); ++k) {
    squares.add(value(k) / scale * (value(k) / scale));
  }
  return scale * std::sqrt(squares.value() / static_cast<double>(lines.length()));
}

bool is_zero(const Lines& lines, std::size_t line, const Tensor& x) {
  for (std::size_t k = 0; k < lines.length(); ++k) {
    if (x.values[lines.cell(line, k)] != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace

std::optional<double> median_line_ratio(Axis axis, const Tensor& candidate,
                                        const std::vector<const Tensor*>& honest,
                                        const Tensor& truth, const LineFloors& floors) {
  const Lines lines(axis, truth);
  const double rms_truth = rms(truth.values);
  std::vector<double> ratios;
  for (std::size_t line = 0; line < lines.count(); ++line) {
    const double size = rms_of_line(lines, line, truth, nullptr);
    if (size == 0) {
      continue;
    }
    double allowed = 0;
    for (const Tensor* run : honest) {
      allowed = std::max(allowed, rms_of_line(lines, line, *run, &truth));
    }
    allowed += floors.of_line * size + floors.of_tensor * rms_truth;
    ratios.push_back(relative(rms_of_line(lines, line, candidate, &truth), allowed));
  }
  if (ratios.empty()) {
    return std::nullopt;
  }
  const auto middle = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 2);
  std::ranges::nth_element(ratios, middle);
  return *middle;
}

LostLines lost_lines(Axis axis, const Tensor& candidate, const std::vector<const Tensor*>& honest,
                     const Tensor& truth) {
  const Lines lines(axis, truth);
  const double least = kResidue * rms(truth.values);
  LostLines lost;
  for (std::size_t line = 0; line < lines.count(); ++line) {
    const bool gone =
        is_zero(lines, line, candidate) && rms_of_line(lines, line, truth, nullptr) > least &&
        std::ranges::none_of(honest, [&](const Tensor* run) { return is_zero(lines, line, *run); });
    if (gone && lost.count++ == 0) {
      lost.first = line;
    }
  }
  return lost;
}

}  // namespace sparity::judge
