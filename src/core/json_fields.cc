#include "src/core/json_fields.h"

#include "src/core/error.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <utility>

namespace sparity::core {

namespace {

/// The integer's value when it is one and fits; a float or a boolean never does.
std::optional<std::int64_t> as_integer(const nlohmann::json& value) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX) {
    return std::nullopt;
  }
  return value.is_number_integer() ? std::optional(value.get<std::int64_t>()) : std::nullopt;
}

}  // namespace

JsonFields::JsonFields(const nlohmann::json& object, std::string source, std::string pointer)
    : object_(object), source_(std::move(source)), pointer_(std::move(pointer)) {
  SPARITY_CHECK_INPUT(
      object.is_object(),
      fmt::format("{}: {}: expected an object, found {}", source_,
                  pointer_.empty() ? "the whole file" : pointer_, describe(object)));
}

const nlohmann::json* JsonFields::find(std::string_view key) {
  const auto member = object_.find(key);
  if (member == object_.end()) {
    return nullptr;
  }
  read_.emplace(key);
  return &*member;
}

const nlohmann::json* JsonFields::find_value(std::string_view key) {
  const nlohmann::json* member = find(key);
  return member == nullptr || member->is_null() ? nullptr : member;
}

std::int64_t JsonFields::integer(std::string_view key, std::int64_t fallback, std::int64_t least,
                                 std::int64_t most) {
  const nlohmann::json* member = find(key);
  if (member == nullptr) {
    return fallback;
  }
  const std::optional<std::int64_t> value = as_integer(*member);
  if (!value || *value < least || *value > most) {
    fail(key, fmt::format("an integer from {} to {}", least, most), describe(*member));
  }
  return *value;
}

double JsonFields::number(std::string_view key, double fallback, double least, double most) {
  const nlohmann::json* member = find(key);
  if (member == nullptr) {
    return fallback;
  }
  const double value = member->is_number() ? member->get<double>() : 0.0;
  if (!member->is_number() || !(value >= least && value <= most)) {
    fail(key, fmt::format("a number from {} to {}", least, most), describe(*member));
  }
  return value;
}

std::optional<double> JsonFields::optional_number(std::string_view key, double least, double most) {
  return find_value(key) == nullptr ? std::nullopt : std::optional(number(key, least, least, most));
}

std::optional<std::string> JsonFields::text(std::string_view key) {
  const nlohmann::json* member = find(key);
  if (member == nullptr) {
    return std::nullopt;
  }
  if (!member->is_string()) {
    fail(key, "a string", describe(*member));
  }
  return member->get<std::string>();
}

bool JsonFields::boolean(std::string_view key, bool fallback) {
  const nlohmann::json* member = find(key);
  if (member == nullptr) {
    return fallback;
  }
  if (!member->is_boolean()) {
    fail(key, "true or false", describe(*member));
  }
  return member->get<bool>();
}

void JsonFields::require(std::string_view key, const nlohmann::json& supported) {
  const nlohmann::json* member = find(key);
  // Equal numbers of different kinds compare equal: 16.0 is no 16 all the same.
  if (member != nullptr &&
      (*member != supported || (supported.is_number_integer() && !member->is_number_integer()))) {
    fail(key, fmt::format("{} (nothing else is supported)", supported.dump()), describe(*member));
  }
}

void JsonFields::require_absent(std::string_view key, std::string_view expected) {
  if (const nlohmann::json* member = find_value(key)) {
    fail(key, expected, describe(*member));
  }
}

void JsonFields::ignore(std::span<const std::string_view> keys) {
  for (const std::string_view key : keys) {
    find(key);
  }
}

std::vector<std::string> JsonFields::unread() const {
  std::vector<std::string> pointers;
  for (const auto& member : object_.items()) {
    if (!read_.contains(member.key())) {
      pointers.push_back(pointer(member.key()));
    }
  }
  return pointers;
}

std::string JsonFields::pointer(std::string_view key) const { return pointer_ + pointer_step(key); }

void JsonFields::fail(std::string_view key, std::string_view expected,
                      std::string_view found) const {
  SPARITY_FAIL_INPUT(
      fmt::format("{}: {}: expected {}, found {}", source_, pointer(key), expected, found));
}

}  // namespace sparity::core
