#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace sparity::core {

/// What a JSON text may cost before it is refused.
struct JsonLimits {
  std::size_t max_bytes = 100'000'000;
  std::size_t max_depth = 8;  // safetensors headers and indices; configs and reports ask for more
  std::size_t max_values = 4'000'000;  // of every kind, containers included: bounds memory
};

/// Parses RFC 8259 JSON and nothing more. Refused with exit code 5 and a message that starts with
/// `source`: duplicate keys, text after the value, a byte order mark, comments, NaN and Infinity
/// tokens, numbers that overflow (integers beyond 64 bits, floats beyond double), nesting deeper
/// than the limit, invalid UTF-8, texts and value counts over their limits. Never recurses on the
/// input. An integer without a minus sign is stored as unsigned, any other integer (-0 too) as
/// signed, and whatever has a fraction or an exponent as float.
nlohmann::json parse_json(std::string_view text, const std::string& source, JsonLimits limits = {});

/// Reads and parses a whole file; `source` of the messages is its path.
nlohmann::json read_json(const std::filesystem::path& path, JsonLimits limits = {});

/// Untrusted text for a message: quoted, escaped to ASCII, cut after 80 bytes.
std::string quote(std::string_view text);

/// A value for the "found …" of a message: scalars as JSON (strings as `quote` has them),
/// containers by kind and size.
std::string describe(const nlohmann::json& value);

/// `key` as one step of a JSON pointer (RFC 6901): "/" and the key with ~ and / escaped.
std::string pointer_step(std::string_view key);

}  // namespace sparity::core
