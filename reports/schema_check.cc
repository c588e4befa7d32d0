#include "reports/schema_check.h"

#include "src/core/error.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace sparity::reports {

namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 5> kAnnotations = {"$schema", "$id", "$defs", "title",
                                                          "description"};
constexpr std::size_t kMostViolations = 20;

bool has_type(const Json& value, const std::string& type) {
  if (type == "integer") {
    return value.is_number_integer() ||
           (value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>());
  }
  return (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
         (type == "string" && value.is_string()) || (type == "number" && value.is_number()) ||
         (type == "boolean" && value.is_boolean()) || (type == "null" && value.is_null());
}

class Validator {
 public:
  explicit Validator(const Json& schema) : root_(schema) {}

  void check(const Json& schema, const Json& value, const std::string& pointer) {
    if (schema.is_boolean()) {
      require(schema.get<bool>(), pointer, "nothing", value);
      return;
    }
    for (const auto& [keyword, rule] : schema.items()) {
      if (violations_.size() >= kMostViolations) {
        return;
      }
      if (std::ranges::find(kAnnotations, keyword) == kAnnotations.end()) {
        apply(schema, keyword, rule, value, pointer);
      }
    }
  }

  std::vector<std::string> take() { return std::move(violations_); }

 private:
  void require(bool holds, const std::string& pointer, const std::string& expected,
               const Json& found) {
    if (!holds) {
      violations_.push_back(fmt::format("{}: expected {}, found {}",
                                        pointer.empty() ? "the whole document" : pointer, expected,
                                        core::describe(found)));
    }
  }

  void apply(const Json& schema, const std::string& keyword, const Json& rule, const Json& value,
             const std::string& pointer) {
    if (keyword == "$ref") {
      check(resolve(rule.get<std::string>()), value, pointer);
    } else if (keyword == "type") {
      require(has_type(value, rule.get<std::string>()), pointer, rule.dump(), value);
    } else if (keyword == "enum") {
      require(std::ranges::find(rule, value) != rule.end(), pointer, "one of " + rule.dump(),
              value);
    } else if (keyword == "const") {
      require(rule == value, pointer, rule.dump(), value);
    } else if (keyword == "anyOf") {
      check_any(rule, value, pointer);
    } else if (keyword == "properties" || keyword == "required" ||
               keyword == "additionalProperties") {
      if (value.is_object()) {
        check_object(schema, keyword, rule, value, pointer);
      }
    } else if (keyword == "items" || keyword == "minItems" || keyword == "maxItems") {
      if (value.is_array()) {
        check_array(keyword, rule, value, pointer);
      }
    } else {
      check_bound(keyword, rule, value, pointer);
    }
  }

  void check_object(const Json& schema, const std::string& keyword, const Json& rule,
                    const Json& value, const std::string& pointer) {
    if (keyword == "required") {
      for (const Json& name : rule) {
        require(value.contains(name.get<std::string>()), pointer, "a member " + name.dump(), value);
      }
      return;
    }
    const bool known = keyword == "properties";
    static const Json kNone = Json::object();
    const auto listed = schema.find("properties");
    const Json& properties = listed == schema.end() ? kNone : *listed;
    for (const auto& [name, member] : value.items()) {
      if (properties.contains(name) == known) {
        check(known ? rule.at(name) : rule, member, pointer + core::pointer_step(name));
      }
    }
  }

  void check_array(const std::string& keyword, const Json& rule, const Json& value,
                   const std::string& pointer) {
    if (keyword == "items") {
      for (std::size_t index = 0; index < value.size(); ++index) {
        check(rule, value[index], fmt::format("{}/{}", pointer, index));
      }
      return;
    }
    const auto bound = rule.get<std::size_t>();
    require(keyword == "minItems" ? value.size() >= bound : value.size() <= bound, pointer,
            fmt::format("{} {} elements", keyword == "minItems" ? "at least" : "at most", bound),
            value);
  }

  void check_bound(const std::string& keyword, const Json& rule, const Json& value,
                   const std::string& pointer) {
    if (keyword == "minimum" || keyword == "maximum") {
      const bool least = keyword == "minimum";
      require(!value.is_number() || (least ? value >= rule : value <= rule), pointer,
              fmt::format("{} {}", least ? "at least" : "at most", rule.dump()), value);
    } else {
      SPARITY_CHECK(false, fmt::format("the schema uses \"{}\", which is not checked", keyword));
    }
  }

  void check_any(const Json& alternatives, const Json& value, const std::string& pointer) {
    for (const Json& alternative : alternatives) {
      Validator attempt(root_);
      attempt.check(alternative, value, pointer);
      if (attempt.violations_.empty()) {
        return;
      }
    }
    require(false, pointer, "one of the forms " + alternatives.dump(), value);
  }

  const Json& resolve(const std::string& reference) const {
    const bool local = reference.starts_with("#/$defs/");
    SPARITY_CHECK(local && root_.contains(Json::json_pointer(reference.substr(1))),
                  fmt::format("the schema has no {}", reference));
    return root_.at(Json::json_pointer(reference.substr(1)));
  }

  const Json& root_;
  std::vector<std::string> violations_;
};

}  // namespace

std::vector<std::string> schema_violations(const Json& schema, const Json& document) {
  Validator validator(schema);
  validator.check(schema, document, "");
  return validator.take();
}

}  // namespace sparity::reports
