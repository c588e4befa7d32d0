#include "reports/report_diff.h"
#include "suites/judge/json_array.h"
#include "suites/judge/record.h"

#include <nlohmann/json.hpp>

#include <cmath>

namespace sparity::reports {

namespace {

using Json = nlohmann::json;

Json real(double value) {
  if (std::isfinite(value)) {
    return value;
  }
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

template <typename Value>
Json or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json verdict_or_null(const std::optional<judge::Verdict>& verdict) {
  return verdict ? Json(judge::to_string(*verdict)) : Json(nullptr);
}

/// `{suite, dtype, device}` and the case's name, with what `more` adds.
Json place(const SuiteId& suite, const std::string& name, Json more) {
  more.update({{"suite", suite.suite}, {"dtype", suite.dtype}, {"device", suite.device}});
  more["case"] = name;
  return more;
}

Json to_json(const DiffSide& side) {
  return {{"source", side.source},
          {"verdict", judge::to_string(side.verdict)},
          {"why", side.why},
          {"complete", side.complete},
          {"comparisons", side.comparisons}};
}

Json to_json(const SettingChange& change) {
  using Kind = SettingChange::Kind;
  return {{"kind", change.kind == Kind::kQuestion ? "question"
                   : change.kind == Kind::kBuild  ? "build"
                                                  : "machine"},
          {"name", change.name},
          {"before", change.before},
          {"after", change.after}};
}

Json to_json(const VerdictChange& change) {
  return place(change.suite, change.name,
               {{"before", verdict_or_null(change.before)},
                {"after", verdict_or_null(change.after)},
                {"got_worse", change.got_worse()},
                {"why", change.why},
                {"cases", change.cases}});
}

Json to_json(const HeadroomRise& rise) {
  return place(rise.suite, rise.name,
               {{"tensor", rise.tensor},
                {"gate", rise.gate},
                {"before", real(rise.before)},
                {"after", real(rise.after)}});
}

Json to_json(const TensorChange& change) {
  return place(change.suite, change.name, {{"tensor", change.tensor}, {"new", change.is_new}});
}

Json to_json(const ConditionChange& change) {
  Json out = place(change.suite, {},
                   {{"name", change.name},
                    {"before", or_null(change.before)},
                    {"after", or_null(change.after)},
                    {"detail", change.detail}});
  out.erase("case");
  return out;
}

Json to_json(const SkipChange& change) {
  return place(change.suite, change.name,
               {{"before", or_null(change.before)}, {"after", or_null(change.after)}});
}

Json to_json(const MistakeChange& change) {
  return {{"id", change.id}, {"title", change.title}, {"new", change.is_new}};
}

constexpr auto as_json = [](const auto& item) { return to_json(item); };

}  // namespace

Json to_json(const ReportDiff& diff) {
  return {{"schema_version", "1.0"},
          {"before", to_json(diff.before)},
          {"after", to_json(diff.after)},
          {"got_worse", diff.got_worse()},
          {"comparable", diff.comparable()},
          {"empty", diff.empty()},
          {"settings", judge::array_of(diff.settings, as_json)},
          {"suites", judge::array_of(diff.suites, as_json)},
          {"cases", judge::array_of(diff.cases, as_json)},
          {"listed_rise", kListedRise},
          {"rises", judge::array_of(diff.rises, as_json)},
          {"rises_below", diff.rises_below},
          {"falls", diff.falls},
          {"falls_below", diff.falls_below},
          {"tensors_paired", diff.tensors_paired},
          {"tensors", judge::array_of(diff.tensors, as_json)},
          {"conditions", judge::array_of(diff.conditions, as_json)},
          {"skips", judge::array_of(diff.skips, as_json)},
          {"mistakes", judge::array_of(diff.mistakes, as_json)}};
}

}  // namespace sparity::reports
