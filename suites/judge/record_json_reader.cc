#include "src/core/dtype.h"
#include "src/core/error.h"
#include "src/core/json_fields.h"
#include "suites/judge/gates.h"
#include "suites/judge/record_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sparity::judge {

namespace {

using nlohmann::json;

/// A number as record_json.cc writes it; nothing when it is none.
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

/// Members of one object, all of them needed and no others.
class Members {
 public:
  Members(const json& object, const std::string& source, const std::string& pointer)
      : fields_(object, source, pointer), source_(source) {}

  const json& need(std::string_view key) {
    const json* value = fields_.find(key);
    if (value == nullptr) {
      fields_.fail(key, "a value", "nothing");
    }
    return *value;
  }

  double number(std::string_view key) {
    const json& value = need(key);
    const std::optional<double> result = as_number(value);
    if (!result) {
      fields_.fail(key, "a number, \"nan\", \"inf\" or \"-inf\"", value.type_name());
    }
    return *result;
  }

  std::int64_t integer(std::string_view key) {
    need(key);
    return fields_.integer(key, 0, std::numeric_limits<std::int64_t>::min(),
                           std::numeric_limits<std::int64_t>::max());
  }

  std::uint64_t unsigned_integer(std::string_view key) {
    const json& value = need(key);
    if (!value.is_number_unsigned()) {
      fields_.fail(key, "an unsigned integer", value.type_name());
    }
    return value.get<std::uint64_t>();
  }

  bool boolean(std::string_view key) {
    need(key);
    return fields_.boolean(key, false);
  }

  std::string text(std::string_view key) {
    need(key);
    return *fields_.text(key);
  }

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

  const json& array(std::string_view key) {
    const json& value = need(key);
    if (!value.is_array()) {
      fields_.fail(key, "an array", value.type_name());
    }
    return value;
  }

  template <typename Item>
  std::vector<Item> items(std::string_view key,
                          Item (*read)(const json&, const std::string&, const std::string&)) {
    std::vector<Item> result;
    for (const json& value : array(key)) {
      result.push_back(read(value, source_, fmt::format("{}/{}", pointer(key), result.size())));
    }
    return result;
  }

  std::vector<std::int64_t> integers(std::string_view key) {
    std::vector<std::int64_t> result;
    for (const json& value : array(key)) {
      const bool wide = value.is_number_unsigned() &&
                        value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max();
      if (!value.is_number_integer() || wide) {
        fields_.fail(key, "64-bit integers", value.dump());
      }
      result.push_back(value.get<std::int64_t>());
    }
    return result;
  }

  std::string pointer(std::string_view key) const { return fields_.pointer(key); }

  [[noreturn]] void fail(std::string_view key, std::string_view expected,
                         std::string_view found) const {
    fields_.fail(key, expected, found);
  }

  void finish() const {
    const std::vector<std::string> left = fields_.unread();
    if (!left.empty()) {
      SPARITY_FAIL_INPUT(
          fmt::format("{}: {}: expected no such member, found one", source_, left.front()));
    }
  }

 private:
  core::JsonFields fields_;
  std::string source_;
};

bool same_number(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

/// The number under `key`, which its hexadecimal twin must confirm.
double twin_number(Members& members, const std::string& key) {
  const double value = members.number(key);
  const std::string twin = members.text(key + "_hex");
  char* end = nullptr;
  const double exact = std::strtod(twin.c_str(), &end);
  if (twin.empty() || *end != '\0' || !same_number(value, exact)) {
    members.fail(key + "_hex", fmt::format("{:a}", value), twin);
  }
  return exact;
}

Gate read_gate(const json& object, const std::string& source, const std::string& pointer) {
  Members members(object, source, pointer);
  const double lhs = twin_number(members, "lhs");
  const double rhs = twin_number(members, "rhs");
  const bool ok = members.boolean("ok");
  const bool blocking = members.boolean("blocking");
  Gate gate = make_gate(members.text("name"), lhs, rhs, blocking, members.text("note"));
  if (gate.ok != ok) {
    members.fail("ok", gate.ok ? "true, by its two sides" : "false, by its two sides",
                 ok ? "true" : "false");
  }
  members.finish();
  return gate;
}

WorstElement read_worst(const json& object, const std::string& source, const std::string& pointer) {
  Members members(object, source, pointer);
  WorstElement element{.index = members.integers("index"),
                       .candidate = members.number("candidate"),
                       .baseline = members.number("baseline"),
                       .truth = members.number("truth"),
                       .ulps = members.number("ulps"),
                       .share = members.number("share")};
  members.finish();
  return element;
}

MagnitudeBucket read_bucket(const json& object, const std::string& source,
                            const std::string& pointer) {
  Members members(object, source, pointer);
  const MagnitudeBucket bucket{.from = members.number("from"),
                               .to = members.number("to"),
                               .count = members.integer("count"),
                               .rms_candidate = members.number("rms_candidate"),
                               .rms_baseline = members.number("rms_baseline"),
                               .max_candidate = members.number("max_candidate")};
  members.finish();
  return bucket;
}

double read_cell(const json& value, const std::string& source, const std::string& pointer) {
  const std::optional<double> cell = as_number(value);
  SPARITY_CHECK_INPUT(cell.has_value(), fmt::format("{}: {}: expected a number, found {}", source,
                                                    pointer, value.type_name()));
  return *cell;
}

std::optional<ErrorMap> read_map(const json& object, const std::string& source,
                                 const std::string& pointer) {
  if (object.is_null()) {
    return std::nullopt;
  }
  Members members(object, source, pointer);
  ErrorMap map{.rows = members.integer("rows"),
               .columns = members.integer("columns"),
               .cells = members.items("cells", read_cell)};
  constexpr std::int64_t kMost = 64;
  const bool bounded =
      map.rows >= 0 && map.columns >= 0 && map.rows <= kMost && map.columns <= kMost;
  if (!bounded || map.rows * map.columns != static_cast<std::int64_t>(map.cells.size())) {
    members.fail("cells", fmt::format("{} × {} cells, at most 64 × 64", map.rows, map.columns),
                 std::to_string(map.cells.size()));
  }
  members.finish();
  return map;
}

Comparison read_comparison(const json& object, const std::string& source,
                           const std::string& pointer) {
  Members members(object, source, pointer);
  Comparison comparison;
  comparison.tensor = members.text("tensor");
  comparison.dtype = members.named("dtype", core::dtype_from_string, "a dtype");
  comparison.shape = members.integers("shape");
  comparison.gates = members.items("gates", read_gate);
  comparison.rms_truth = members.number("rms_truth");
  comparison.rms_candidate_error = members.number("rms_candidate_error");
  comparison.rms_baseline_error = members.number("rms_baseline_error");
  comparison.relative_l2 = members.number("relative_l2");
  comparison.cosine = members.number("cosine");
  comparison.calc_diff = members.number("calc_diff");
  comparison.worst = members.items("worst", read_worst);
  comparison.buckets = members.items("buckets", read_bucket);
  comparison.error_map = read_map(members.need("error_map"), source, members.pointer("error_map"));
  members.finish();
  return comparison;
}

SelectionSummary read_selection(const json& object, const std::string& source,
                                const std::string& pointer) {
  Members members(object, source, pointer);
  SelectionSummary summary{.tensor = members.text("tensor"),
                           .rows = members.integer("rows"),
                           .selected = members.integer("selected"),
                           .flipped_rows = members.integer("flipped_rows"),
                           .flips = members.integer("flips"),
                           .baseline_flips = members.integer("baseline_flips"),
                           .tied_rows = members.integer("tied_rows"),
                           .worst_margin = members.number("worst_margin"),
                           .allowed_margin = members.number("allowed_margin")};
  members.finish();
  return summary;
}

std::optional<DivergenceClass> divergence_from_string(std::string_view name) {
  for (const DivergenceClass value :
       {DivergenceClass::kClean, DivergenceClass::kBug, DivergenceClass::kAccumulated,
        DivergenceClass::kUnexplained}) {
    if (to_string(value) == name) {
      return value;
    }
  }
  return std::nullopt;
}

TracePoint read_point(const json& object, const std::string& source, const std::string& pointer) {
  Members members(object, source, pointer);
  TracePoint point{
      .tensor = members.text("tensor"),
      .local_headroom = members.number("local_headroom"),
      .free_error = members.number("free_error"),
      .baseline_error = members.number("baseline_error"),
      .predicted_error = members.number("predicted_error"),
      .divergence = members.named("divergence", divergence_from_string, "a divergence class")};
  members.finish();
  return point;
}

Condition read_condition(const json& object, const std::string& source,
                         const std::string& pointer) {
  Members members(object, source, pointer);
  Condition condition{.name = members.text("name"),
                      .exercised = members.boolean("exercised"),
                      .required = members.boolean("required"),
                      .detail = members.text("detail")};
  members.finish();
  return condition;
}

}  // namespace

CaseRecord case_record_from_json(const json& document, const std::string& source) {
  Members members(document, source, "");
  const std::string version = members.text("schema_version");
  if (version != kRecordSchemaVersion) {
    members.fail("schema_version", kRecordSchemaVersion, version);
  }
  CaseRecord record;
  record.suite = members.text("suite");
  record.name = members.text("name");
  record.config = members.text("config");
  record.config_hash = members.text("config_hash");
  record.dtype = members.text("dtype");
  record.recipe = members.text("recipe");
  record.device = members.text("device");
  record.seed = members.unsigned_integer("seed");
  record.seconds = members.number("seconds");
  record.verdict = members.named("verdict", verdict_from_string, "a verdict");
  record.message = members.text("message");
  record.first_divergence = members.text("first_divergence");
  record.rerun = members.text("rerun");
  record.comparisons = members.items("comparisons", read_comparison);
  record.selections = members.items("selections", read_selection);
  record.trace = members.items("trace", read_point);
  record.conditions = members.items("conditions", read_condition);
  members.finish();
  return record;
}

}  // namespace sparity::judge
