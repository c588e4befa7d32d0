#include "src/core/tensor_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

namespace sparity::core {

namespace {

struct CodeRange {
  std::uint32_t first;
  std::uint32_t last;
};

constexpr std::array kForbidden = {
    CodeRange{0x0000, 0x001F},    // C0 controls
    CodeRange{0x007F, 0x009F},    // DEL, C1 controls
    CodeRange{0x061C, 0x061C},    // Arabic letter mark
    CodeRange{0x200B, 0x200F},    // zero-width characters, direction marks
    CodeRange{0x2028, 0x202E},    // line and paragraph separators, direction overrides
    CodeRange{0x2060, 0x206F},    // word joiner, direction isolates
    CodeRange{0xFEFF, 0xFEFF},    // zero-width no-break space
    CodeRange{0xFFF9, 0xFFFB},    // interlinear annotation
    CodeRange{0xE0000, 0xE007F},  // tags
};

/// Takes one code point off the front of `text`; nothing when its encoding is invalid.
std::optional<std::uint32_t> take_code_point(std::string_view& text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const std::size_t length = lead < 0x80U ? 1 : lead < 0xE0U ? 2 : lead < 0xF0U ? 3 : 4;
  if ((lead >= 0x80U && lead < 0xC2U) || lead > 0xF4U || text.size() < length) {
    return std::nullopt;
  }
  std::uint32_t code = length == 1 ? lead : lead & (0x7FU >> length);
  for (const char next : text.substr(1, length - 1)) {
    const auto byte = static_cast<unsigned char>(next);
    if ((byte & 0xC0U) != 0x80U) {
      return std::nullopt;
    }
    code = (code << 6) | (byte & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> kLeastOfLength = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kLeastOfLength[length] || surrogate || code > 0x10FFFF) {
    return std::nullopt;
  }
  text.remove_prefix(length);
  return code;
}

bool is_absolute_path(std::string_view name) {
  const bool drive = name.size() >= 3 && name[1] == ':' && (name[2] == '/' || name[2] == '\\');
  return name.front() == '/' || name.front() == '\\' || name.front() == '~' || drive;
}

}  // namespace

std::string tensor_name_complaint(std::string_view name) {
  if (name.empty() || name.size() > kMaxTensorNameBytes) {
    return fmt::format("of 1 to {} bytes, found {} bytes", kMaxTensorNameBytes, name.size());
  }
  if (name == "__metadata__" || is_absolute_path(name) || name.find("..") != name.npos) {
    return "that is neither reserved nor a path out of its folder, found this";
  }
  std::string_view rest = name;
  while (!rest.empty()) {
    const std::optional<std::uint32_t> code = take_code_point(rest);
    if (!code) {
      return "in UTF-8, found other bytes";
    }
    if (std::ranges::any_of(kForbidden, [&](const CodeRange& range) {
          return *code >= range.first && *code <= range.last;
        })) {
      return fmt::format("of visible characters, found U+{:04X}", *code);
    }
  }
  return "";
}

}  // namespace sparity::core
