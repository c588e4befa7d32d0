#include "suites/judge/record_json.h"

#include "suites/judge/json_array.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace sparity::judge {

namespace {

using nlohmann::json;

std::string non_finite_name(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  return value > 0 ? "inf" : "-inf";
}

json number(double value) {
  return std::isfinite(value) ? json(value) : json(non_finite_name(value));
}

std::string hexadecimal(double value) {
  if (!std::isfinite(value)) {
    return non_finite_name(value);
  }
  char text[40];
  std::snprintf(text, sizeof(text), "%a", value);
  return text;
}

json to_json(const Gate& gate) {
  return {{"name", gate.name},
          {"lhs", number(gate.lhs)},
          {"rhs", number(gate.rhs)},
          {"lhs_hex", hexadecimal(gate.lhs)},
          {"ok", gate.ok},
          {"rhs_hex", hexadecimal(gate.rhs)},
          {"blocking", gate.blocking},
          {"note", gate.note}};
}

json to_json(const WorstElement& element) {
  return {{"index", element.index},
          {"candidate", number(element.candidate)},
          {"baseline", number(element.baseline)},
          {"truth", number(element.truth)},
          {"ulps", number(element.ulps)},
          {"share", number(element.share)}};
}

json to_json(const MagnitudeBucket& bucket) {
  return {{"from", number(bucket.from)},
          {"to", number(bucket.to)},
          {"count", bucket.count},
          {"rms_candidate", number(bucket.rms_candidate)},
          {"rms_baseline", number(bucket.rms_baseline)},
          {"max_candidate", number(bucket.max_candidate)}};
}

json numbers(const std::vector<double>& values) {
  json array = json::array();
  for (const double value : values) {
    array.push_back(number(value));
  }
  return array;
}

json to_json(const ErrorMap& map) {
  return {{"rows", map.rows}, {"columns", map.columns}, {"cells", numbers(map.cells)}};
}

constexpr auto as_json = [](const auto& item) { return to_json(item); };

}  // namespace

json to_json(const Comparison& comparison) {
  return {{"tensor", comparison.tensor},
          {"dtype", core::to_string(comparison.dtype)},
          {"shape", comparison.shape},
          {"gates", array_of(comparison.gates, as_json)},
          {"rms_truth", number(comparison.rms_truth)},
          {"rms_candidate_error", number(comparison.rms_candidate_error)},
          {"rms_baseline_error", number(comparison.rms_baseline_error)},
          {"relative_l2", number(comparison.relative_l2)},
          {"cosine", number(comparison.cosine)},
          {"calc_diff", number(comparison.calc_diff)},
          {"undecided", comparison.undecided},
          {"worst", array_of(comparison.worst, as_json)},
          {"buckets", array_of(comparison.buckets, as_json)},
          {"error_map", comparison.error_map ? to_json(*comparison.error_map) : json(nullptr)}};
}

json to_json(const SelectionSummary& summary) {
  return {{"tensor", summary.tensor},
          {"rows", summary.rows},
          {"selected", summary.selected},
          {"flipped_rows", summary.flipped_rows},
          {"flips", summary.flips},
          {"baseline_flips", summary.baseline_flips},
          {"tied_rows", summary.tied_rows},
          {"worst_margin", number(summary.worst_margin)},
          {"allowed_margin", number(summary.allowed_margin)}};
}

json to_json(const TracePoint& point) {
  return {{"tensor", point.tensor},
          {"local_headroom", number(point.local_headroom)},
          {"free_error", number(point.free_error)},
          {"baseline_error", number(point.baseline_error)},
          {"predicted_error", number(point.predicted_error)},
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
          {"truth", number(reading.truth)},
          {"baseline", number(reading.baseline)},
          {"candidate", number(reading.candidate)},
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
          {"seconds", number(record.seconds)},
          {"verdict", to_string(record.verdict)},
          {"message", record.message},
          {"first_divergence", record.first_divergence},
          {"rerun", record.rerun},
          {"comparisons", array_of(record.comparisons, as_json)},
          {"selections", array_of(record.selections, as_json)},
          {"trace", array_of(record.trace, as_json)},
          {"paths", array_of(record.paths, as_json)},
          {"curves", array_of(record.curves, as_json)},
          {"kl_readings", array_of(record.kl_readings, as_json)},
          {"conditions", array_of(record.conditions, as_json)}};
}

}  // namespace sparity::judge
