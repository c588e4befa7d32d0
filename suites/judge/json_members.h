#pragma once

#include "src/core/json_fields.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::judge {

/// Members of one JSON object, all of them needed and no others. Failures are exit code 5: source,
/// JSON pointer, what was expected and what was found. Object and source must outlive this.
class JsonMembers {
 public:
  JsonMembers(const nlohmann::json& object, const std::string& source, const std::string& pointer)
      : fields_(object, source, pointer), source_(source) {}

  const nlohmann::json& need(std::string_view key);

  /// A number, or "nan", "inf", "-inf".
  double number(std::string_view key);
  std::int64_t integer(std::string_view key);
  /// An integer from 0 to `most`.
  std::int64_t count(std::string_view key,
                     std::int64_t most = std::numeric_limits<std::int64_t>::max());
  std::uint64_t unsigned_integer(std::string_view key);
  bool boolean(std::string_view key);
  std::string text(std::string_view key);
  std::vector<std::int64_t> integers(std::string_view key);

  /// One of a closed set, by its name.
  template <typename Value>
  Value named(std::string_view key, std::optional<Value> (*from_string)(std::string_view),
              std::string_view expected) {
    const std::string name = text(key);
    const std::optional<Value> value = from_string(name);
    if (!value) {
      fields_.fail(key, expected, name);
    }
    return *value;
  }

  std::vector<const nlohmann::json*> elements(std::string_view key);

  /// The elements of an array, each by `read(element, source, its pointer)`.
  template <typename Item>
  std::vector<Item> items(std::string_view key,
                          Item (*read)(const nlohmann::json&, const std::string&,
                                       const std::string&)) {
    std::vector<Item> result;
    for (const nlohmann::json* element : elements(key)) {
      result.push_back(read(*element, source_, pointer(key) + "/" + std::to_string(result.size())));
    }
    return result;
  }

  std::string pointer(std::string_view key) const { return fields_.pointer(key); }
  [[noreturn]] void fail(std::string_view key, std::string_view expected,
                         std::string_view found) const {
    fields_.fail(key, expected, found);
  }

  /// Refuses members that nobody asked for.
  void finish() const;

 private:
  core::JsonFields fields_;
  const std::string& source_;
};

/// A number as records write it: NaN and infinities are "nan", "inf", "-inf".
nlohmann::json number_json(double value);

/// The number that `number_json` wrote; nothing when it is none.
std::optional<double> as_number(const nlohmann::json& value);

/// As an element of `JsonMembers::items`.
double number_from_json(const nlohmann::json& value, const std::string& source,
                        const std::string& pointer);

}  // namespace sparity::judge
