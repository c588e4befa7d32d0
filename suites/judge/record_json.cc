#include "suites/judge/record_json.h"

#include "suites/judge/comparisons_json.h"
#include "suites/judge/json_array.h"
#include "suites/judge/json_members.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace sparity::judge {

namespace {

using nlohmann::json;

json numbers(const std::vector<double>& values) { return array_of(values, number_json); }

constexpr auto as_json = [](const auto& item) { return to_json(item); };

}  // namespace

json to_json(const SelectionSummary& summary) {
  return {{"tensor", summary.tensor},
          {"rows", summary.rows},
          {"selected", summary.selected},
          {"flipped_rows", summary.flipped_rows},
          {"flips", summary.flips},
          {"baseline_flips", summary.baseline_flips},
          {"tied_rows", summary.tied_rows},
          {"worst_margin", number_json(summary.worst_margin)},
          {"allowed_margin", number_json(summary.allowed_margin)}};
}

json to_json(const TracePoint& point) {
  return {{"tensor", point.tensor},
          {"local_headroom", number_json(point.local_headroom)},
          {"free_error", number_json(point.free_error)},
          {"baseline_error", number_json(point.baseline_error)},
          {"predicted_error", number_json(point.predicted_error)},
          {"divergence", to_string(point.divergence)}};
}

json to_json(const GradientPath& path) {
  const auto tally = [](const PathTally& of) {
    return json{{"none", of.none}, {"zero", of.zero}, {"non_zero", of.non_zero}};
  };
  return {{"loss", path.loss},
          {"group", path.group},
          {"expected", tally(path.expected)},
          {"found", tally(path.found)},
          {"agreeing", path.agreeing}};
}

json to_json(const LossCurve& curve) {
  return {{"title", curve.title},
          {"steps", curve.steps},
          {"truth", numbers(curve.truth)},
          {"baseline", numbers(curve.baseline)},
          {"candidate", numbers(curve.candidate)}};
}

json to_json(const KlReading& reading) {
  return {{"reduction", reading.reduction},
          {"target", reading.target},
          {"support", reading.support},
          {"truth", number_json(reading.truth)},
          {"baseline", number_json(reading.baseline)},
          {"candidate", number_json(reading.candidate)},
          {"tensor", reading.tensor}};
}

json to_json(const Condition& condition) {
  return {{"name", condition.name},
          {"exercised", condition.exercised},
          {"required", condition.required},
          {"detail", condition.detail}};
}

json to_json(const CaseRecord& record) {
  return {{"schema_version", kRecordSchemaVersion},
          {"suite", record.suite},
          {"name", record.name},
          {"config", record.config},
          {"config_hash", record.config_hash},
          {"dtype", record.dtype},
          {"recipe", record.recipe},
          {"device", record.device},
          {"seed", record.seed},
          {"seconds", number_json(record.seconds)},
          {"verdict", to_string(record.verdict)},
          {"message", record.message},
          {"first_divergence", record.first_divergence},
          {"rerun", record.rerun},
          {"comparisons", comparisons_to_json(record.comparisons)},
          {"selections", array_of(record.selections, as_json)},
          {"trace", array_of(record.trace, as_json)},
          {"paths", array_of(record.paths, as_json)},
          {"curves", array_of(record.curves, as_json)},
          {"kl_readings", array_of(record.kl_readings, as_json)},
          {"conditions", array_of(record.conditions, as_json)}};
}

}  // namespace sparity::judge
