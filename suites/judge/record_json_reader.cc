#include "suites/judge/comparisons_json.h"
#include "suites/judge/json_members.h"
#include "suites/judge/record_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sparity::judge {

namespace {

using nlohmann::json;

SelectionSummary read_selection(const json& object, const std::string& source,
                                const std::string& pointer) {
  JsonMembers members(object, source, pointer);
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
  JsonMembers members(object, source, pointer);
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

PathTally read_tally(JsonMembers& path, std::string_view key, const std::string& source) {
  JsonMembers members(path.need(key), source, path.pointer(key));
  constexpr std::int64_t kMost = 1'000'000'000;  // parameters: sums of them stay integers
  const PathTally tally{.none = members.count("none", kMost),
                        .zero = members.count("zero", kMost),
                        .non_zero = members.count("non_zero", kMost)};
  members.finish();
  return tally;
}

GradientPath read_path(const json& object, const std::string& source, const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  const GradientPath path{.loss = members.text("loss"),
                          .group = members.text("group"),
                          .expected = read_tally(members, "expected", source),
                          .found = read_tally(members, "found", source),
                          .agreeing = members.count("agreeing")};
  const std::int64_t parameters = path.expected.total();
  if (path.found.total() != parameters) {
    members.fail("found", fmt::format("{} parameters, as expected of", parameters),
                 std::to_string(path.found.total()));
  }
  if (path.agreeing > parameters) {
    members.fail("agreeing", fmt::format("at most {}", parameters), std::to_string(path.agreeing));
  }
  members.finish();
  return path;
}

LossCurve read_curve(const json& object, const std::string& source, const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  LossCurve curve{.title = members.text("title"),
                  .steps = members.integers("steps"),
                  .truth = members.items("truth", number_from_json),
                  .baseline = members.items("baseline", number_from_json),
                  .candidate = members.items("candidate", number_from_json)};
  if (std::ranges::adjacent_find(curve.steps, std::greater_equal()) != curve.steps.end()) {
    members.fail("steps", "rising numbers", "one that is not above the one before");
  }
  for (const auto& [key, side] :
       {std::pair{"truth", &curve.truth}, std::pair{"baseline", &curve.baseline},
        std::pair{"candidate", &curve.candidate}}) {
    if (side->size() != curve.steps.size()) {
      members.fail(key, fmt::format("{} values, as there are steps", curve.steps.size()),
                   std::to_string(side->size()));
    }
  }
  members.finish();
  return curve;
}

KlReading read_reading(const json& object, const std::string& source, const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  KlReading reading{.reduction = members.text("reduction"),
                    .target = members.text("target"),
                    .support = members.text("support"),
                    .truth = members.number("truth"),
                    .baseline = members.number("baseline"),
                    .candidate = members.number("candidate"),
                    .tensor = members.text("tensor")};
  members.finish();
  return reading;
}

/// What a reading says is judged must be.
void check_readings(const CaseRecord& record, const JsonMembers& members) {
  for (const KlReading& reading : record.kl_readings) {
    if (std::ranges::find(record.comparisons, reading.tensor, &Comparison::tensor) ==
        record.comparisons.end()) {
      members.fail("kl_readings", "the tensor of a comparison of this record", reading.tensor);
    }
  }
}

Condition read_condition(const json& object, const std::string& source,
                         const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  Condition condition{.name = members.text("name"),
                      .exercised = members.boolean("exercised"),
                      .required = members.boolean("required"),
                      .detail = members.text("detail")};
  members.finish();
  return condition;
}

}  // namespace

CaseRecord case_record_from_json(const json& document, const std::string& source) {
  JsonMembers members(document, source, "");
  const std::string version = members.text("schema_version");
  const bool is_10 = version == kRecordSchema10;
  const bool is_11 = version == kRecordSchema11;
  const bool is_before_13 = is_10 || is_11 || version == kRecordSchema12;
  if (version != kRecordSchemaVersion && !is_before_13) {
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
  if (is_before_13) {
    record.comparisons = members.items("comparisons", comparison_before_13);
  } else {
    record.comparisons =
        comparisons_from_json(members.need("comparisons"), source, members.pointer("comparisons"));
  }
  record.selections = members.items("selections", read_selection);
  record.trace = members.items("trace", read_point);
  if (!is_10) {
    record.paths = members.items("paths", read_path);
  }
  if (!is_10 && !is_11) {
    record.curves = members.items("curves", read_curve);
    record.kl_readings = members.items("kl_readings", read_reading);
    check_readings(record, members);
  }
  record.conditions = members.items("conditions", read_condition);
  members.finish();
  return record;
}

}  // namespace sparity::judge
