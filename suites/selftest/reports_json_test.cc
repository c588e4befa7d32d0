#include "reports/report_json.h"
#include "reports/schema_check.h"
#include "src/core/error.h"
#include "src/core/strict_json.h"
#include "suites/selftest/records_before.h"
#include "suites/selftest/reports_sample.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

namespace sparity::reports {
namespace {

using nlohmann::json;
using selftest::failing_report;

const json& schema() {
  static const json kSchema = core::read_json(
      std::filesystem::path(SPARITY_SOURCE_DIR) / "reports/schema/report-1.3.schema.json",
      {.max_depth = 16});
  return kSchema;
}

bool valid(const json& document) { return schema_violations(schema(), document).empty(); }

/// As it would come back from a file.
json reread(const json& document) {
  return core::parse_json(document.dump(-1, ' ', false, json::error_handler_t::replace), "test",
                          {.max_depth = 12});
}

bool read_refuses(const json& document) {
  try {
    report_from_json(document, "report.json");
    return false;
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    EXPECT_EQ(std::string(error.what()).rfind("report.json", 0), 0U) << error.what();
    return true;
  }
}

/// A failing report with numbers that JSON has no token for.
Report report_with_odd_numbers() {
  Report report = failing_report();
  judge::CaseRecord& record = report.cases.back();
  record.comparisons[0].gates.push_back(selftest::sample_gate(std::nan(""), HUGE_VAL));
  record.comparisons[0].worst[0].candidate = std::nan("");
  record.comparisons[0].worst[0].share = HUGE_VAL;
  record.comparisons[0].buckets[1].to = HUGE_VAL;
  record.trace[0].free_error = -HUGE_VAL;
  record.seconds = std::nan("");
  report.suite_runs[0].seconds = HUGE_VAL;
  return report;
}

/// Pointers to every value of a document, containers included, below the root.
void collect(const json& value, const json::json_pointer& place,
             std::vector<json::json_pointer>& out) {
  if (!value.is_structured()) {
    return;
  }
  for (const auto& [key, member] : value.items()) {
    const json::json_pointer inner =
        value.is_array() ? place / static_cast<std::size_t>(std::stoul(key)) : place / key;
    out.push_back(inner);
    collect(member, inner, out);
  }
}

/// The failing report with only its failing case: every kind of member, and few of each.
Report small_report() {
  Report report = report_with_odd_numbers();
  report.cases.erase(report.cases.begin(), report.cases.end() - 1);
  report.expected.erase(report.expected.begin(), report.expected.end() - 1);
  report.suite_runs.erase(report.suite_runs.begin(), report.suite_runs.end() - 1);
  return report;
}

json small_document() { return reread(to_json(small_report())); }

TEST(ReportJson, WhatIsWrittenMeetsTheSchema) {
  for (const Report& report : {selftest::passing_report(), report_with_odd_numbers(), Report{},
                               selftest::report_made_of(selftest::hostile_name())}) {
    const json document = reread(to_json(report));
    const std::vector<std::string> violations = schema_violations(schema(), document);
    EXPECT_TRUE(violations.empty()) << violations.front();
  }
}

TEST(ReportJson, RoundTripKeepsEveryMember) {
  for (const Report& report : {selftest::passing_report(), report_with_odd_numbers(), Report{}}) {
    const json document = reread(to_json(report));
    EXPECT_EQ(to_json(report_from_json(document, "report.json")).dump(), document.dump());
  }
}

TEST(ReportJson, EveryMissingMemberIsRefusedBySchemaAndReader) {
  const json document = small_document();
  std::vector<json::json_pointer> places;
  collect(document, json::json_pointer(), places);
  int tried = 0;
  for (const json::json_pointer& place : places) {
    json mutated = document;
    json& parent = mutated.at(place.parent_pointer());
    if (parent.is_object()) {
      parent.erase(place.back());
      EXPECT_FALSE(valid(mutated)) << place.to_string();
      EXPECT_TRUE(read_refuses(mutated)) << place.to_string();
      ++tried;
    }
  }
  EXPECT_GT(tried, 120);
}

TEST(ReportJson, EveryUnknownMemberIsRefusedBySchemaAndReader) {
  const json document = small_document();
  std::vector<json::json_pointer> places = {json::json_pointer()};
  collect(document, json::json_pointer(), places);
  for (const json::json_pointer& place : places) {
    if (document.at(place).is_object()) {
      json mutated = document;
      mutated.at(place)["surprise"] = 1;
      EXPECT_FALSE(valid(mutated)) << place.to_string();
      EXPECT_TRUE(read_refuses(mutated)) << place.to_string();
    }
  }
}

TEST(ReportJson, EveryWrongTypeIsRefusedBySchemaAndReader) {
  const json document = small_document();
  std::vector<json::json_pointer> places;
  collect(document, json::json_pointer(), places);
  for (const json::json_pointer& place : places) {
    json mutated = document;
    json& value = mutated.at(place);
    value = value.is_object() ? json::array({1}) : json::object();
    EXPECT_FALSE(valid(mutated)) << place.to_string();
    EXPECT_TRUE(read_refuses(mutated)) << place.to_string();
  }
}

TEST(ReportJson, DerivedFiguresThatTheRecordsDoNotGiveAreRefused) {
  const json document = small_document();
  for (const auto& [key, count] : document.at("counts").items()) {
    json mutated = document;
    mutated["counts"][key] = count.get<int>() + 1;
    EXPECT_TRUE(read_refuses(mutated)) << key;
  }
  for (const auto& [key, value] : std::vector<std::pair<std::string, json>>{
           {"verdict", "pass"}, {"exit_code", 0}, {"first_divergence", "logits"}}) {
    json mutated = document;
    mutated[key] = value;
    EXPECT_TRUE(valid(mutated)) << key;
    EXPECT_TRUE(read_refuses(mutated)) << key;
  }
}

TEST(ReportJson, OtherVersionsUnknownVerdictsAndWaiversAreRefused) {
  const json document = small_document();
  for (const auto& [place, value] :
       std::vector<std::pair<std::string, json>>{{"/schema_version", "2.0"},
                                                 {"/waivers", json::array({1})},
                                                 {"/suite_runs/0/verdict", "maybe"},
                                                 {"/suite_runs/0/exit_code", 1000},
                                                 {"/suite_runs/0/cases", -1},
                                                 {"/suite_runs/0/seconds", "soon"},
                                                 {"/provenance/seed", -1},
                                                 {"/cases/0/schema_version", "0.9"},
                                                 {"/cases/0/verdict", "maybe"}}) {
    json mutated = document;
    mutated.at(json::json_pointer(place)) = value;
    EXPECT_FALSE(valid(mutated)) << place;
    EXPECT_TRUE(read_refuses(mutated)) << place;
  }
}

TEST(ReportJson, OfTheVersionsBeforeAreReadAndRenderedAgain) {
  for (const std::string version : {"1.0", "1.1", "1.2"}) {
    json before = small_document();
    before["schema_version"] = version;
    for (std::size_t index = 0; index < before["cases"].size(); ++index) {
      json& record = before["cases"][index];
      record["schema_version"] = version;
      record["comparisons"] =
          reread(selftest::comparisons_before_13(small_report().cases[index].comparisons));
      if (version != "1.2") {
        record.erase("curves");
        record.erase("kl_readings");
      }
      if (version == "1.0") {
        record.erase("paths");
      }
    }
    if (version != "1.2") {
      before.erase("error_maps_left_out");
    }
    const json old_schema =
        core::read_json(std::filesystem::path(SPARITY_SOURCE_DIR) /
                            ("reports/schema/report-" + version + ".schema.json"),
                        {.max_depth = 16});
    EXPECT_TRUE(schema_violations(old_schema, before).empty());
    EXPECT_FALSE(valid(before));
    const json now = to_json(report_from_json(before, "report.json"));
    EXPECT_TRUE(valid(now));
    EXPECT_EQ(now.at("schema_version"), "1.3");
    if (version != "1.2") {
      before["error_maps_left_out"] = 0;
      EXPECT_TRUE(read_refuses(before));
    }
  }
}

TEST(ReportJson, SuiteListedTwiceIsRefused) {
  Report report = failing_report();
  report.expected.push_back(report.expected.front());
  EXPECT_TRUE(read_refuses(reread(to_json(report))));
}

TEST(ReportJson, FileRoundTripSurvivesBytesThatAreNotUtf8) {
  const auto path = std::filesystem::path(testing::TempDir()) / "sparity_report_json_test.json";
  Report report = failing_report();
  report.suite_runs[0].stderr_tail = "\xFF torn \xC3";
  write_report(report, path);
  EXPECT_EQ(read_report(path).suite_runs[0].stderr_tail, "\xEF\xBF\xBD torn \xEF\xBF\xBD");
  std::filesystem::remove(path);
}

TEST(SchemaCheck, AppliesEveryKeywordItKnows) {
  const auto violates = [](const char* rule, const char* value) {
    return !schema_violations(json::parse(rule), json::parse(value)).empty();
  };
  EXPECT_TRUE(violates(R"({"type":"integer"})", "1.5"));
  EXPECT_FALSE(violates(R"({"type":"integer"})", "2.0"));
  EXPECT_TRUE(violates(R"({"type":"null"})", "0"));
  EXPECT_TRUE(violates(R"({"enum":[1,"a"]})", "2"));
  EXPECT_TRUE(violates(R"({"const":"1.0"})", "1.0"));
  EXPECT_TRUE(violates(R"({"minimum":0})", "-1"));
  EXPECT_TRUE(violates(R"({"maximum":5})", "6"));
  EXPECT_TRUE(violates(R"({"minItems":1})", "[]"));
  EXPECT_TRUE(violates(R"({"maxItems":1})", "[1,2]"));
  EXPECT_TRUE(violates(R"({"items":{"type":"string"}})", "[1]"));
  EXPECT_TRUE(violates(R"({"required":["a"]})", "{}"));
  EXPECT_TRUE(violates(R"({"properties":{"a":{"type":"string"}}})", R"({"a":1})"));
  EXPECT_TRUE(violates(R"({"properties":{"a":true},"additionalProperties":false})", R"({"b":1})"));
  EXPECT_TRUE(violates(R"({"anyOf":[{"type":"string"},{"type":"null"}]})", "1"));
  EXPECT_FALSE(violates(R"({"anyOf":[{"type":"string"},{"type":"null"}]})", "null"));
  EXPECT_TRUE(violates(R"({"$ref":"#/$defs/a","$defs":{"a":{"type":"string"}}})", "1"));
}

TEST(SchemaCheck, RefusesKeywordsAndReferencesItWouldIgnore) {
  EXPECT_THROW(schema_violations(json::parse(R"({"pattern":"a"})"), json("b")), core::Error);
  EXPECT_THROW(schema_violations(json::parse(R"({"$ref":"#/$defs/none"})"), json("b")),
               core::Error);
}

}  // namespace
}  // namespace sparity::reports
