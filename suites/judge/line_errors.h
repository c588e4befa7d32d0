#pragma once

#include "suites/judge/tensor.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace sparity::judge {

/// Lines of a tensor seen as a matrix of rows × last dimension.
enum class Axis { kRow, kColumn };

/// Lines of fewer cells are zero, or off by much, by chance.
inline constexpr std::size_t kCellsOfALine = 8;

/// What an honest line may err by beside what honest runs show: relative to the line, and to ρ(t).
struct LineFloors {
  double of_line = 0;
  double of_tensor = 0;
};

/// The median over lines l of ρ_l(c−t) / (max over honest runs of ρ_l(b−t) + floors): every line is
/// measured by its own honest error, so that one massive line hides nothing. Lines that are zero in
/// the truth are left out; not set where none is left or they have fewer than kCellsOfALine cells.
std::optional<double> median_line_ratio(Axis axis, const Tensor& candidate,
                                        const std::vector<const Tensor*>& honest,
                                        const Tensor& truth, const LineFloors& floors);

/// Lines of kCellsOfALine cells or more that are exactly zero where the truth is not, though every
/// honest run shows something there: a row, a head, an expert or a token that was dropped, however
/// small its share. Lines below 2⁻⁴⁰ of ρ(t) are what cancellation leaves, and are not counted.
struct LostLines {
  std::int64_t count = 0;
  std::size_t first = 0;
};
LostLines lost_lines(Axis axis, const Tensor& candidate, const std::vector<const Tensor*>& honest,
                     const Tensor& truth);

}  // namespace sparity::judge
