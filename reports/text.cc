#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace sparity::reports {

namespace {

/// One decoded character: its code point, or none when the bytes are not UTF-8.
struct Character {
  char32_t code = 0;
  std::size_t bytes = 1;
  bool valid = false;
};

Character decode(std::string_view text) {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) {
    return {lead, 1, true};
  }
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) {
    return {};
  }
  char32_t code = lead & (0xFFU >> (length + 1));
  for (std::size_t index = 1; index < length; ++index) {
    if ((byte(index) & 0xC0U) != 0x80) {
      return {};
    }
    code = (code << 6U) | (byte(index) & 0x3FU);
  }
  constexpr std::array<char32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < kLeast[length] || code > 0x10FFFF || surrogate ? Character{}
                                                               : Character{code, length, true};
}

struct Range {
  char32_t first;
  char32_t last;
};

/// Characters that act without being seen, or that XML 1.0 has no place for.
constexpr std::array kHidden = {
    Range{0x0000, 0x001F},   Range{0x007F, 0x009F},  // C0, DEL and C1 controls
    Range{0x00AD, 0x00AD},                           // soft hyphen
    Range{0x061C, 0x061C},   Range{0x200B, 0x200F},  // zero-width, direction marks
    Range{0x2028, 0x202E},                           // separators, embeddings and overrides
    Range{0x2060, 0x206F},                           // isolates and invisible operators
    Range{0xFE00, 0xFE0F},                           // variation selectors
    Range{0xFEFF, 0xFEFF},   Range{0xFFF0, 0xFFFB},  // byte order mark, interlinear annotation
    Range{0xFFFE, 0xFFFF},                           // non-characters
    Range{0xE0000, 0xE0FFF},                         // tags
};

bool is_hidden(char32_t code) {
  return std::ranges::any_of(
      kHidden, [=](const Range& range) { return code >= range.first && code <= range.last; });
}

}  // namespace

std::string visible(std::string_view text, Lines lines) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character character = decode(text);
    const bool kept = lines == Lines::kMany && (text.front() == '\n' || text.front() == '\t');
    if (!character.valid) {
      out += fmt::format("\\x{:02X}", static_cast<unsigned char>(text.front()));
    } else if (is_hidden(character.code) && !kept) {
      out += fmt::format("\\u{{{:X}}}", static_cast<std::uint32_t>(character.code));
    } else {
      out += text.substr(0, character.bytes);
    }
    text.remove_prefix(character.bytes);
  }
  return out;
}

std::string escaped(std::string_view text, Lines lines) {
  std::string out;
  for (const char letter : visible(text, lines)) {
    switch (letter) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += letter;
    }
  }
  return out;
}

std::string shortened(std::string_view text, std::size_t longest) {
  if (text.size() <= longest) {
    return std::string(text);
  }
  const auto inside = [&](std::size_t index) {
    return (static_cast<unsigned char>(text[index]) & 0xC0U) == 0x80;
  };
  // Text that isn't UTF-8 may have no boundary to cut at: three steps are all UTF-8 needs.
  std::size_t head = longest / 2;
  for (int step = 0; step < 3 && head > 0 && inside(head); ++step) {
    --head;
  }
  std::size_t tail = text.size() - longest / 2;
  for (int step = 0; step < 3 && tail < text.size() && inside(tail); ++step) {
    ++tail;
  }
  return fmt::format("{}…{} ({} bytes)", text.substr(0, head), text.substr(tail), text.size());
}

std::string_view without_full_stop(std::string_view sentence) {
  return sentence.ends_with('.') ? sentence.substr(0, sentence.size() - 1) : sentence;
}

std::string name_html(std::string_view name) { return escaped(shortened(name)); }

std::string number(double value) {
  if (std::isnan(value)) {
    return "not a number";
  }
  if (std::isinf(value)) {
    return value > 0 ? "infinite" : "minus infinite";
  }
  return fmt::format("{:.4g}", value);
}

std::string ratio(double value) {
  if (!std::isfinite(value)) {
    return number(value);
  }
  if (value > 1 && value < 1.005) {
    return "1.00+";  // not what rounds to 1 and holds
  }
  const double size = std::abs(value);
  if (value != 0 && (size >= 1e6 || size < 5e-3)) {
    return fmt::format("{:.1e}", value);
  }
  return size < 10 ? fmt::format("{:.2f}", value) : fmt::format("{:.0f}", value);
}

std::string counted(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) {
    return "unknown";
  }
  if (seconds < 9.995) {
    return fmt::format("{:.2f} s", seconds);
  }
  const auto whole = std::llround(seconds);
  if (whole < 60) {
    return fmt::format("{:.1f} s", seconds);
  }
  return whole < 3600 ? fmt::format("{} min {:02} s", whole / 60, whole % 60)
                      : fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::string bracketed(std::span<const std::int64_t> values) {
  std::string out = "[";
  for (const std::int64_t value : values) {
    out += fmt::format("{}{}", out.size() > 1 ? ", " : "", value);
  }
  return out + "]";
}

}  // namespace sparity::reports
