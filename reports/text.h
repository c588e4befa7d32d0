#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sparity::reports {

/// Whether `visible` keeps line feeds and tabs, or spells them out too.
enum class Lines { kOne, kMany };

/// Untrusted text made harmless for terminals, HTML and XML, and still readable: control
/// characters (ANSI's escape among them), bidirectional controls, zero-width and tag characters,
/// line separators and non-characters become "\u{202E}", bytes that are not UTF-8 become "\xFF".
/// Names come from files.
std::string visible(std::string_view text, Lines lines = Lines::kOne);

/// `visible`, with the five characters that HTML and XML give a meaning to as references. Fit for
/// element content and quoted attributes of both.
std::string escaped(std::string_view text, Lines lines = Lines::kOne);

/// The first and the last of a text longer than `longest` bytes, and how long it is:
/// "layers.0.…q_norm (100000 bytes)". Cuts between UTF-8 characters.
std::string shortened(std::string_view text, std::size_t longest = 96);

/// A sentence without its full stop, for where one is added.
std::string_view without_full_stop(std::string_view sentence);

/// Shortened and escaped: how names stand in tables.
std::string name_html(std::string_view name);

/// Four significant digits: "0.4127", "3.1e-05", "not a number", "infinite", "minus infinite".
std::string number(double value);

/// lhs/rhs of a gate: "0.41", "12", "310000", "3.1e+09"; "1.00+" for what is above 1 and rounds to
/// it; "not a number" and "infinite".
std::string ratio(double value);

/// "1 case", "12 cases".
std::string counted(std::int64_t count, std::string_view noun);

/// "0.42 s", "12.4 s", "3 min 20 s", "2 h 05 min".
std::string duration(double seconds);

/// "[2, 53, 72]"; "[]" for a scalar.
std::string bracketed(std::span<const std::int64_t> values);

}  // namespace sparity::reports
