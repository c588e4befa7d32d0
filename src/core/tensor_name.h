#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sparity::core {

/// Longest tensor name that is read or written, in bytes of UTF-8.
inline constexpr std::size_t kMaxTensorNameBytes = 512;

/// What is wrong with `name` as a tensor's name, in words that follow "expected a tensor name …";
/// empty when nothing is. Refused: empty or overlong names, invalid UTF-8, control characters,
/// invisible and bidirectional formatting characters, "..", and whatever reads as an absolute path,
/// so that a name is safe in a terminal, a report and a path.
std::string tensor_name_complaint(std::string_view name);

}  // namespace sparity::core
