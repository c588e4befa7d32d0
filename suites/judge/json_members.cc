#include "suites/judge/json_members.h"

#include "src/core/error.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>

namespace sparity::judge {

using nlohmann::json;

json number_json(double value) {
  if (std::isfinite(value)) {
    return value;
  }
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

std::optional<double> as_number(const json& value) {
  if (value.is_number()) {
    return value.get<double>();
  }
  if (value == "nan") {
    return std::numeric_limits<double>::quiet_NaN();
  }
  if (value == "inf" || value == "-inf") {
    const double infinity = std::numeric_limits<double>::infinity();
    return value == "inf" ? infinity : -infinity;
  }
  return std::nullopt;
}

double number_from_json(const json& value, const std::string& source, const std::string& pointer) {
  const std::optional<double> found = as_number(value);
  SPARITY_CHECK_INPUT(found.has_value(), fmt::format("{}: {}: expected a number, found {}", source,
                                                     pointer, value.type_name()));
  return *found;
}

const json& JsonMembers::need(std::string_view key) {
  const json* value = fields_.find(key);
  if (value == nullptr) {
    fields_.fail(key, "a value", "nothing");
  }
  return *value;
}

double JsonMembers::number(std::string_view key) {
  const json& value = need(key);
  const std::optional<double> result = as_number(value);
  if (!result) {
    fields_.fail(key, "a number, \"nan\", \"inf\" or \"-inf\"", value.type_name());
  }
  return *result;
}

std::int64_t JsonMembers::integer(std::string_view key) {
  need(key);
  return fields_.integer(key, 0, std::numeric_limits<std::int64_t>::min(),
                         std::numeric_limits<std::int64_t>::max());
}

std::int64_t JsonMembers::count(std::string_view key, std::int64_t most) {
  need(key);
  return fields_.integer(key, 0, 0, most);
}

std::uint64_t JsonMembers::unsigned_integer(std::string_view key) {
  const json& value = need(key);
  if (!value.is_number_unsigned()) {
    fields_.fail(key, "an unsigned integer", value.type_name());
  }
  return value.get<std::uint64_t>();
}

bool JsonMembers::boolean(std::string_view key) {
  need(key);
  return fields_.boolean(key, false);
}

std::string JsonMembers::text(std::string_view key) {
  need(key);
  return *fields_.text(key);
}

std::vector<const json*> JsonMembers::elements(std::string_view key) {
  const json& value = need(key);
  if (!value.is_array()) {
    fields_.fail(key, "an array", value.type_name());
  }
  std::vector<const json*> result;
  for (const json& element : value) {
    result.push_back(&element);
  }
  return result;
}

std::vector<std::int64_t> JsonMembers::integers(std::string_view key) {
  std::vector<std::int64_t> result;
  for (const json* value : elements(key)) {
    const bool wide = value->is_number_unsigned() &&
                      value->get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max();
    if (!value->is_number_integer() || wide) {
      fields_.fail(key, "64-bit integers", value->dump());
    }
    result.push_back(value->get<std::int64_t>());
  }
  return result;
}

void JsonMembers::finish() const {
  const std::vector<std::string> left = fields_.unread();
  if (!left.empty()) {
    SPARITY_FAIL_INPUT(
        fmt::format("{}: {}: expected no such member, found one", source_, left.front()));
  }
}

}  // namespace sparity::judge
