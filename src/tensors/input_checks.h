#pragma once

#include "src/core/error.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace sparity::tensors {

// What readers of inputs share: refusals (exit code 5) "file: 'tensor'[row, column]: expected …".

/// A label that counts for nothing.
inline constexpr std::int64_t kIgnoredLabel = -100;

inline std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape.vec(), ", "));
}

inline void check_shape(const std::string& source, std::string_view name, const at::Tensor& tensor,
                        at::IntArrayRef expected) {
  SPARITY_CHECK_INPUT(tensor.sizes() == expected,
                      fmt::format("{}: '{}': expected shape {}, found {}", source, name,
                                  shape_text(expected), shape_text(tensor.sizes())));
}

/// The first element of an I64 matrix for which `bad(offset, values)` holds throws, naming its
/// place.
template <typename Bad>
void check_elements(const std::string& source, std::string_view name, const at::Tensor& tensor,
                    std::string_view expected, Bad bad) {
  const auto* values = tensor.const_data_ptr<std::int64_t>();
  const std::int64_t columns = tensor.size(1);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    SPARITY_CHECK_INPUT(!bad(i, values),
                        fmt::format("{}: '{}'[{}, {}]: expected {}, found {}", source, name,
                                    i / columns, i % columns, expected, values[i]));
  }
}

}  // namespace sparity::tensors
