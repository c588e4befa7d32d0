// Records to JSON and back, and the journal that a killed process leaves.

#include "src/core/error.h"
#include "suites/judge/condensed.h"
#include "suites/judge/gates.h"
#include "suites/judge/journal.h"
#include "suites/judge/outcome.h"
#include "suites/judge/record_json.h"
#include "suites/selftest/judge_samples.h"
#include "suites/selftest/records_before.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace sparity::judge {
namespace {

using nlohmann::json;

/// A record that holds one of everything, non-finite numbers included.
CaseRecord full_record() {
  samples::Trio trio({16, 16});
  trio.candidate.values[3] = std::numeric_limits<double>::quiet_NaN();
  CaseRecord record;
  record.suite = "rope";
  record.name = "yarn \"quoted\"\n";
  record.config = "tiny";
  record.config_hash = "0123456789abcdef";
  record.dtype = "bfloat16";
  record.recipe = "hf";
  record.seed = std::numeric_limits<std::uint64_t>::max();
  record.seconds = 0.1;
  record.rerun = "sparity check rope";
  record.comparisons.push_back(trio.judge());
  samples::Trio scaled({16, 16});
  for (double& value : scaled.candidate.values) {
    value = rounded(value * 1.5, core::Dtype::kBF16);
  }
  record.comparisons.push_back(scaled.judge());
  Comparison held;
  held.tensor = "layers.0.mlp.gate";
  held.dtype = core::Dtype::kBF16;
  held.shape = {2, 3};
  held.gates = {make_gate("G0", 0, 0, true, "shape"), make_gate("G1", 1.23456e-7, 1e-6, true, "n"),
                make_gate("G2", 0.25, 7, false, "rows")};
  held.rms_truth = 3;
  record.comparisons.push_back(held);
  held.tensor = "layers.0.mlp.up";
  record.comparisons.push_back(held);
  held.tensor = "layers.0.norm";
  held.gates[1] = make_gate("G1", 0.6123456789, 1, true, "came close");
  record.comparisons.push_back(held);
  held.gates[1] = make_gate("G1", 0.1, 1);
  held.undecided = "too few";
  record.comparisons.push_back(held);
  record.selections.push_back({.tensor = "topk", .rows = 3, .selected = 9, .flips = 2});
  record.trace.push_back({.tensor = "layers.0",
                          .local_headroom = std::numeric_limits<double>::infinity(),
                          .divergence = DivergenceClass::kBug});
  record.paths.push_back({"LM loss", "head", {.non_zero = 2}, {.zero = 1, .non_zero = 1}, 1});
  record.curves.push_back({"LM loss", {1, 2}, {3, 2.5}, {3, 2.5}, {3, std::nan("")}});
  record.kl_readings.push_back(
      {"sum", "selected", "valid", 0.1, 0.2, HUGE_VAL, record.comparisons[0].tensor});
  record.conditions.push_back({.name = "YaRN live", .exercised = true, .detail = "53 > 24"});
  settle(record);
  return record;
}

std::filesystem::path scratch(const std::string& name) {
  const auto path = std::filesystem::path(testing::TempDir()) /
                    (name + "." + std::to_string(::getpid()) + ".jsonl");
  std::filesystem::remove(path);
  return path;
}

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void append_raw(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::app | std::ios::binary) << text;
}

TEST(RecordJson, H13ReadsBackToTheSameBits) {
  const CaseRecord record = full_record();
  const std::string text = to_json(record).dump();
  const CaseRecord again = case_record_from_json(json::parse(text), "test");
  EXPECT_EQ(to_json(again).dump(), text);
  EXPECT_EQ(again.seed, record.seed);
  EXPECT_EQ(again.seconds, 0.1);
  EXPECT_EQ(again.comparisons[1].gates[3].lhs, record.comparisons[1].gates[3].lhs);
  EXPECT_TRUE(std::isnan(again.comparisons[0].worst.at(0).candidate));
  EXPECT_EQ(again.comparisons[1].gates[3].note, record.comparisons[1].gates[3].note);
  EXPECT_EQ(again.verdict, Verdict::kFail);
  EXPECT_EQ(again.first_divergence, "layers.0");
}

TEST(RecordJson, NonFiniteNumbersAreStringsAndGatesThatFailedHaveHexadecimalTwins) {
  const CaseRecord record = full_record();
  const json document = to_json(record);
  const json& evidence = document["comparisons"]["evidence"];
  EXPECT_EQ(evidence[0]["worst"][0]["candidate"], "nan");
  EXPECT_EQ(document["trace"][0]["local_headroom"], "inf");
  for (const json& gate : evidence[1]["gates"]) {
    EXPECT_EQ(std::strtod(gate["lhs_hex"].get<std::string>().c_str(), nullptr),
              record.comparisons[1].gates[gate["gate"].get<std::size_t>()].lhs);
  }
}

TEST(RecordJson, WhatHeldComfortablyKeepsNameDtypeShapeAndGates) {
  const json document = to_json(full_record());
  const std::vector<Comparison> again = case_record_from_json(document, "test").comparisons;
  ASSERT_EQ(again.size(), 6U);
  EXPECT_EQ(again[2].tensor, "layers.0.mlp.gate");
  EXPECT_EQ(again[3].tensor, "layers.0.mlp.up");
  EXPECT_EQ(document["comparisons"]["shared"][3], 3);
  EXPECT_EQ(document["comparisons"]["tensors"][3], "up");
  EXPECT_EQ(again[3].dtype, core::Dtype::kBF16);
  EXPECT_EQ(again[3].shape, (std::vector<std::int64_t>{2, 3}));
  ASSERT_EQ(again[3].gates.size(), 3U);
  EXPECT_EQ(again[3].gates[0].name, "G0");
  EXPECT_EQ(again[3].gates[1].lhs, 1.23e-7);
  EXPECT_EQ(again[3].gates[1].rhs, 1e-6);
  EXPECT_TRUE(again[3].gates[1].ok && again[3].gates[1].blocking);
  EXPECT_FALSE(again[3].gates[2].blocking);
  EXPECT_TRUE(again[3].gates[1].note.empty());
  EXPECT_EQ(again[3].rms_truth, 0);
}

TEST(RecordJson, WhatCameCloseOrDecidesNothingKeepsItsFigures) {
  const CaseRecord record = full_record();
  const CaseRecord again = case_record_from_json(to_json(record), "test");
  const Comparison& close = again.comparisons[4];
  EXPECT_EQ(close.gates[1].lhs, 0.6123456789);
  EXPECT_EQ(close.gates[1].note, "came close");
  EXPECT_TRUE(close.gates[2].note.empty());
  EXPECT_EQ(close.rms_truth, 3);
  EXPECT_EQ(again.comparisons[5].undecided, "too few");
}

TEST(Condensed, ChangesNoDecisionAndASecondTimeNothing) {
  for (const double rhs : {1.0, 3.33333e-9, 1.7976e308, 5e-324, 0.0}) {
    for (const double share : {0.0, 0.1, 0.4994, 0.49951, 0.5, 0.50049, 0.5006, 1.0, 1.001}) {
      Comparison comparison;
      comparison.gates = {make_gate("G1", rhs * share, rhs, true, "note")};
      const Comparison once = condensed(comparison);
      const Comparison twice = condensed(once);
      EXPECT_EQ(once.passed(), comparison.passed()) << rhs << " · " << share;
      EXPECT_EQ(held_comfortably(once), held_comfortably(comparison)) << rhs << " · " << share;
      EXPECT_EQ(once.gates[0].lhs, twice.gates[0].lhs);
      EXPECT_EQ(once.gates[0].rhs, twice.gates[0].rhs);
    }
  }
  Comparison without_gates;
  EXPECT_FALSE(held_comfortably(without_gates));
  EXPECT_FALSE(condensed(without_gates).passed());
}

TEST(RecordJson, EveryMissingUnknownOrForgedFieldIsRefused) {
  const json good = to_json(full_record());
  const auto refused = [&](const std::function<void(json&)>& change) {
    json bad = good;
    change(bad);
    try {
      case_record_from_json(bad, "results.jsonl:7");
    } catch (const core::Error& error) {
      EXPECT_NE(std::string(error.what()).find("results.jsonl:7"), std::string::npos);
      return error.code() == core::ExitCode::kBadInput;
    }
    return false;
  };
  for (const auto& [key, value] : good.items()) {
    EXPECT_TRUE(refused([&](json& bad) { bad.erase(key); })) << key;
    EXPECT_TRUE(refused([&](json& bad) { bad[key] = json::object({{"x", 1}}); })) << key;
  }
  EXPECT_TRUE(refused([](json& bad) { bad["waived"] = true; }));
  EXPECT_TRUE(refused([](json& bad) { bad["schema_version"] = "0.9"; }));
  EXPECT_TRUE(refused([](json& bad) { bad["verdict"] = "green"; }));
  EXPECT_TRUE(refused([](json& bad) { bad["seed"] = -1; }));
  EXPECT_TRUE(refused([](json& bad) { bad["seconds"] = "fast"; }));
  const auto columns_refused = [&](const std::function<void(json&)>& change) {
    return refused([&](json& bad) { change(bad["comparisons"]); });
  };
  EXPECT_TRUE(columns_refused([](json& bad) { bad["evidence"][0]["gates"][1]["ok"] = true; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["sides"][0] = 7.25; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["sides"].push_back(1); }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["sides"].erase(0); }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["tensors"].push_back("more"); }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["shared"][3] = 4; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["shared"][3] = -1; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["kind_of"][3] = 99; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["kinds"][0]["gates"] = 99; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["gate_sets"][0]["zero"] = {99}; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["evidence"].erase(0); }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["evidence"].push_back(bad["evidence"][0]); }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["evidence"][1]["comparison"] = 3; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["evidence"][1]["comparison"] = 99; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["evidence"][1]["gates"][0]["gate"] = 99; }));
  EXPECT_TRUE(
      columns_refused([](json& bad) { bad["evidence"][1]["gates"][0]["lhs_hex"] = "0x0p+0"; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["evidence"][1]["error_map"]["rows"] = 1; }));
  EXPECT_TRUE(columns_refused([](json& bad) { bad["kinds"][0]["shape"][0] = 1.5; }));
  EXPECT_TRUE(refused([](json& bad) { bad["paths"][0]["agreeing"] = 3; }));
  EXPECT_TRUE(refused([](json& bad) { bad["paths"][0]["found"]["none"] = 1; }));
  EXPECT_TRUE(refused([](json& bad) { bad["paths"][0]["found"]["zero"] = -1; }));
  EXPECT_TRUE(refused([](json& bad) { bad["curves"][0]["steps"] = {2, 2}; }));
  EXPECT_TRUE(refused([](json& bad) { bad["curves"][0]["steps"] = {1, 2, 3}; }));
  EXPECT_TRUE(refused([](json& bad) { bad["curves"][0]["baseline"] = {1}; }));
  EXPECT_TRUE(refused([](json& bad) { bad["curves"][0]["candidate"][0] = "soon"; }));
  EXPECT_TRUE(refused([](json& bad) { bad["kl_readings"][0]["tensor"] = "another"; }));
  EXPECT_FALSE(refused([](json&) {}));
}

TEST(RecordJson, OfTheVersionsBeforeIsReadWithoutWhatTheyLack) {
  json before = to_json(full_record());
  before["schema_version"] = "1.2";
  EXPECT_THROW(case_record_from_json(before, "test"), core::Error);
  before["comparisons"] = selftest::comparisons_before_13(full_record().comparisons);
  EXPECT_EQ(case_record_from_json(before, "test").comparisons[3].gates[1].note, "n");
  json forged = before;
  forged["comparisons"][1]["gates"][3]["lhs"] = 0.0;
  EXPECT_THROW(case_record_from_json(forged, "test"), core::Error);
  before["schema_version"] = "1.1";
  EXPECT_THROW(case_record_from_json(before, "test"), core::Error);
  before.erase("curves");
  EXPECT_THROW(case_record_from_json(before, "test"), core::Error);
  before.erase("kl_readings");
  EXPECT_EQ(case_record_from_json(before, "test").paths.size(), 1U);
  before["schema_version"] = "1.0";
  EXPECT_THROW(case_record_from_json(before, "test"), core::Error);
  before.erase("paths");
  const CaseRecord record = case_record_from_json(before, "test");
  EXPECT_TRUE(record.paths.empty());
  EXPECT_TRUE(record.curves.empty());
  EXPECT_EQ(record.conditions.size(), 1U);
}

TEST(Journal, HoldsEveryRecordInOrder) {
  const auto path = scratch("order");
  CaseRecord record = full_record();
  JournalWriter writer(path);
  for (int i = 0; i < 5; ++i) {
    record.name = std::to_string(i);
    writer.append(record);
  }
  const JournalContent journal = read_journal(path);
  ASSERT_EQ(journal.records.size(), 5U);
  EXPECT_FALSE(journal.torn);
  EXPECT_EQ(journal.records[4].name, "4");
}

TEST(Journal, EveryTornTailIsLeftOutAndReported) {
  const auto path = scratch("torn");
  CaseRecord record;
  record.suite = "a";
  {
    JournalWriter writer(path);
    record.name = "1";
    writer.append(record);
    record.name = "2";
    writer.append(record);
  }
  const std::string whole = content(path);
  const std::size_t line = whole.size() / 2;
  for (std::size_t size = line + 1; size < whole.size(); size += 7) {
    std::filesystem::resize_file(path, size);
    const JournalContent journal = read_journal(path);
    EXPECT_EQ(journal.records.size(), 1U);
    EXPECT_TRUE(journal.torn);
    append_raw(path, whole.substr(size));
  }
  EXPECT_EQ(read_journal(path).records.size(), 2U);
}

TEST(Journal, ATornTailIsCutBeforeTheNextRecord) {
  const auto path = scratch("resume");
  CaseRecord record;
  record.suite = "a";
  JournalWriter(path).append(record);
  append_raw(path, R"({"suite": "b", "na)");
  record.name = "next";
  JournalWriter(path).append(record);
  const JournalContent journal = read_journal(path);
  EXPECT_EQ(journal.records.size(), 2U);
  EXPECT_FALSE(journal.torn);
}

TEST(Journal, GarbageAnywhereElseIsRefusedWithItsLine) {
  const auto path = scratch("garbage");
  CaseRecord record;
  record.suite = "a";
  JournalWriter(path).append(record);
  append_raw(path, "garbage\n");
  EXPECT_TRUE(read_journal(path).torn);
  append_raw(path, "{}\n");
  try {
    read_journal(path);
    FAIL() << "garbage in the middle was accepted";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find(path.string() + ":2"), std::string::npos);
  }
}

TEST(Journal, ACaseTwiceIsRefusedWithItsLine) {
  const auto path = scratch("twice");
  CaseRecord record;
  record.suite = "a";
  JournalWriter writer(path);
  for (const char* dtype : {"float32", "bfloat16"}) {
    record.dtype = dtype;
    writer.append(record);
  }
  EXPECT_EQ(read_journal(path).records.size(), 2U);
  writer.append(record);
  try {
    read_journal(path);
    FAIL() << "a case was counted twice";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find(path.string() + ":3"), std::string::npos);
  }
}

TEST(Journal, AMissingFolderIsTheUsersMistakeAndAFullDiskIsNot) {
  try {
    JournalWriter("/nonexistent/results.jsonl");
    FAIL() << "a journal was opened in a folder that is not there";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
  }
  JournalWriter full("/dev/full");
  try {
    full.append(CaseRecord());
    FAIL() << "a full disk took a record";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kCrashed);
  }
}

TEST(Journal, ProcessesThatAppendAtOnceDoNotMixTheirLines) {
  const auto path = scratch("parallel");
  constexpr int kProcesses = 4;
  constexpr int kRecords = 25;
  for (int process = 0; process < kProcesses; ++process) {
    if (::fork() == 0) {
      JournalWriter writer(path);
      CaseRecord record = full_record();
      for (int i = 0; i < kRecords; ++i) {
        record.name = std::to_string(process * kRecords + i);
        writer.append(record);
      }
      ::_exit(0);
    }
  }
  for (int process = 0; process < kProcesses; ++process) {
    int status = 0;
    ASSERT_GT(::wait(&status), 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(read_journal(path).records.size(), std::size_t{kProcesses * kRecords});
}

}  // namespace
}  // namespace sparity::judge
