// What changed between two reports, and how it is told.

#include "reports/report_diff.h"

#include "reports/report_diff_pages.h"
#include "reports/report_json.h"
#include "reports/schema_check.h"
#include "src/core/strict_json.h"
#include "suites/judge/outcome.h"
#include "suites/selftest/records_before.h"
#include "suites/selftest/reports_sample.h"
#include "suites/selftest/sound_page.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <string_view>

namespace sparity::reports {
namespace {

using judge::Verdict;
using nlohmann::json;
using selftest::expect_sound;
using selftest::failing_report;
using selftest::passing_report;

ReportDiff diff_of(const Report& before, const Report& after) {
  return diff_reports(before, "a/report.json", after, "b/report.json");
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// A passing report whose first case's only tensor stands at `headroom`.
Report report_at(double headroom) {
  Report report = passing_report();
  judge::CaseRecord& record = report.cases.front();
  record.comparisons[0].gates = {selftest::sample_gate(headroom * 1e-7, 1e-7)};
  record.verdict = Verdict::kHarnessFault;
  record.message.clear();
  judge::settle(record);
  return report;
}

TEST(ReportDiff, OfAReportWithItselfIsEmpty) {
  for (const Report& report : {passing_report(), failing_report(), Report{},
                               selftest::report_made_of(selftest::hostile_name())}) {
    const ReportDiff diff = diff_of(report, report);
    EXPECT_TRUE(diff.empty()) << diff_markdown(diff);
    EXPECT_FALSE(diff.got_worse());
    EXPECT_TRUE(diff.comparable());
    EXPECT_TRUE(contains(diff_markdown(diff), "Nothing changed"));
    EXPECT_TRUE(contains(expect_sound(diff_page(diff)).text, "Nothing changed"));
  }
}

TEST(ReportDiff, PassThatFailsIsWorseAndTheOtherWayRoundIsNot) {
  const ReportDiff worse = diff_of(passing_report(), failing_report());
  EXPECT_TRUE(worse.got_worse());
  ASSERT_EQ(worse.suites.size(), 1U);
  EXPECT_EQ(worse.suites[0].suite.suite, "indexer");
  ASSERT_EQ(worse.cases.size(), 1U);
  EXPECT_EQ(worse.cases[0].name, "second-claim");
  EXPECT_EQ(worse.cases[0].after, Verdict::kFail);
  EXPECT_EQ(worse.worse_verdicts(), 3);  // the run, its suite, its case
  EXPECT_TRUE(contains(worse.cases[0].why, "layers.1.self_attn.indexer.q"));
  ASSERT_EQ(worse.rises.size(), 1U);
  EXPECT_NEAR(worse.rises[0].after, 4200, 1);
  EXPECT_EQ(worse.skips.size(), 1U);
  EXPECT_EQ(worse.conditions.size(), 2U);
  EXPECT_EQ(worse.mistakes.size(), 2U);

  const ReportDiff better = diff_of(failing_report(), passing_report());
  EXPECT_FALSE(better.got_worse());
  EXPECT_TRUE(better.rises.empty());
  EXPECT_EQ(better.falls, 1);
  EXPECT_TRUE(contains(diff_headline(better), "none for the worse"));
}

TEST(ReportDiff, EveryPairOfVerdictsFollowsTheOrderOfExitCodes) {
  const std::vector<std::vector<Verdict>> order = {
      {Verdict::kPass},
      {Verdict::kSkip},
      {Verdict::kInconclusive},
      {Verdict::kFail},
      {Verdict::kCrash, Verdict::kTimeout, Verdict::kOutOfMemory},
      {Verdict::kHarnessFault},
      {Verdict::kBadInput}};
  for (std::size_t better = 0; better < order.size(); ++better) {
    for (std::size_t worse = 0; worse < order.size(); ++worse) {
      for (const Verdict before : order[better]) {
        for (const Verdict after : order[worse]) {
          const VerdictChange change{{}, "", before, after, "", 0};
          EXPECT_EQ(change.got_worse(), better < worse)
              << judge::to_string(before) << " to " << judge::to_string(after);
        }
      }
    }
  }
}

TEST(ReportDiff, CaseThatIsGoneIsWorseUnlessItWasSkipped) {
  Report after = passing_report();
  after.cases.pop_back();
  after.suite_runs.back().cases = 1;
  after.suite_runs.back().comparisons = 1;
  const ReportDiff gone = diff_of(passing_report(), after);
  EXPECT_TRUE(gone.suites.empty());
  EXPECT_FALSE(gone.verdict_changed());
  ASSERT_EQ(gone.cases.size(), 1U);
  EXPECT_FALSE(gone.cases[0].after.has_value());
  EXPECT_TRUE(gone.got_worse());
  EXPECT_FALSE(diff_of(after, passing_report()).got_worse());

  VerdictChange skipped{{}, "", Verdict::kSkip, {}, "", 0};
  EXPECT_FALSE(skipped.got_worse());
  skipped = {{}, "", {}, Verdict::kSkip, "", 0};
  EXPECT_FALSE(skipped.got_worse());
  skipped = {{}, "", {}, Verdict::kFail, "", 0};
  EXPECT_TRUE(skipped.got_worse());
}

TEST(ReportDiff, SuiteThatIsGoneIsOneChangeAndNotOneForEachCase) {
  Report after = passing_report();
  after.expected.pop_back();
  after.suite_runs.pop_back();
  after.cases.resize(after.cases.size() - 2);
  const ReportDiff diff = diff_of(passing_report(), after);
  ASSERT_EQ(diff.suites.size(), 1U);
  EXPECT_EQ(diff.suites[0].cases, 2);
  EXPECT_TRUE(diff.cases.empty());
  EXPECT_TRUE(diff.got_worse());
}

TEST(ReportDiff, RisesBelowTheFloorAreCountedAndNotListed) {
  const ReportDiff little = diff_of(report_at(0.30), report_at(0.39));
  EXPECT_TRUE(little.rises.empty());
  EXPECT_EQ(little.rises_below, 1);
  EXPECT_FALSE(little.empty());
  EXPECT_FALSE(little.got_worse());
  EXPECT_TRUE(contains(diff_markdown(little), "1 rose by less"));

  const ReportDiff enough = diff_of(report_at(0.30), report_at(0.45));
  ASSERT_EQ(enough.rises.size(), 1U);
  EXPECT_EQ(enough.rises_below, 0);

  // Far beyond the limit a tenth of the allowance is nothing.
  EXPECT_TRUE(diff_of(report_at(1000), report_at(1001)).rises.empty());
  EXPECT_EQ(diff_of(report_at(1000), report_at(1200)).rises.size(), 1U);
}

TEST(ReportDiff, WhatIsNotANumberIsTheWorstRiseAndNoneAgainstItself) {
  for (const double odd : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    const ReportDiff diff = diff_of(report_at(0.5), report_at(odd));
    ASSERT_EQ(diff.rises.size(), 1U) << odd;
    EXPECT_TRUE(std::isinf(diff.rises[0].after));
    EXPECT_TRUE(diff.got_worse());
    expect_sound(diff_page(diff));
    EXPECT_TRUE(contains(diff_markdown(diff), "infinite"));
    EXPECT_TRUE(diff_of(report_at(odd), report_at(odd)).empty());
    EXPECT_EQ(diff_of(report_at(odd), report_at(0.5)).falls, 1);
  }
}

TEST(ReportDiff, RisesStandWorstFirst) {
  Report before = passing_report();
  Report after = passing_report();
  const double headrooms[] = {0.5, 0.9, 0.7};
  for (std::size_t index = 0; index < 3; ++index) {
    after.cases[index].comparisons[0].gates = {
        selftest::sample_gate(headrooms[index] * 1e-7, 1e-7)};
  }
  const ReportDiff diff = diff_of(before, after);
  ASSERT_EQ(diff.rises.size(), 3U);
  EXPECT_NEAR(diff.rises[0].after, 0.9, 1e-9);
  EXPECT_NEAR(diff.rises[1].after, 0.7, 1e-9);
  EXPECT_NEAR(diff.rises[2].after, 0.5, 1e-9);
  EXPECT_FALSE(diff.got_worse());
}

TEST(ReportDiff, UnlikeThingsAreSaidToBeUnlike) {
  Report after = passing_report();
  after.provenance.seed = 2;
  after.provenance.dtypes = {"float32"};
  after.provenance.config_hash = "other";
  const ReportDiff unlike = diff_of(passing_report(), after);
  EXPECT_FALSE(unlike.comparable());
  EXPECT_EQ(unlike.settings.size(), 3U);
  for (const std::string& text : {diff_markdown(unlike), expect_sound(diff_page(unlike)).text}) {
    EXPECT_TRUE(contains(text, "Unlike things are compared"));
    EXPECT_TRUE(contains(text, "seed"));
  }

  Report built = passing_report();
  built.provenance.compiler = "another";
  built.provenance.threads = 7;
  const ReportDiff otherwise = diff_of(passing_report(), built);
  EXPECT_TRUE(otherwise.comparable());
  EXPECT_EQ(otherwise.settings.size(), 2U);
  EXPECT_FALSE(contains(diff_markdown(otherwise), "Unlike"));

  // Reports of `compare` say it in their cases alone.
  Report cases = passing_report();
  cases.cases[0].config_hash = "other";
  EXPECT_FALSE(diff_of(passing_report(), cases).comparable());
}

TEST(ReportDiff, TensorsConditionsAndSkipsThatComeGoOrChange) {
  Report before = failing_report();
  Report after = before;
  after.cases[0].comparisons[0].tensor = "another";
  after.cases.back().conditions[1].exercised = true;
  after.skipped[0].reason = "another reason";
  const ReportDiff diff = diff_of(before, after);
  ASSERT_EQ(diff.tensors.size(), 2U);
  EXPECT_TRUE(diff.tensors[0].is_new);
  EXPECT_FALSE(diff.tensors[1].is_new);
  ASSERT_EQ(diff.conditions.size(), 1U);
  EXPECT_EQ(diff.conditions[0].before, false);
  EXPECT_EQ(diff.conditions[0].after, true);
  ASSERT_EQ(diff.skips.size(), 1U);
  EXPECT_EQ(diff.skips[0].after, "another reason");
  EXPECT_FALSE(diff.got_worse());
  for (const char* text : {"another", "padded rows", "another reason"}) {
    EXPECT_TRUE(contains(diff_markdown(diff), text));
    EXPECT_TRUE(contains(diff_page(diff), text));
  }
}

TEST(ReportDiff, WhatIsThereTwiceIsPairedInOrder) {
  Report before = passing_report();
  before.cases[0].comparisons.push_back(selftest::sample_comparison("again", true));
  before.cases[0].comparisons.push_back(selftest::sample_comparison("again", true));
  Report after = before;
  after.cases[0].comparisons.back().gates = {selftest::sample_gate(9e-8, 1e-7)};
  EXPECT_TRUE(diff_of(before, before).empty());
  EXPECT_EQ(diff_of(before, after).rises.size(), 1U);
  after.cases[0].comparisons.pop_back();
  EXPECT_EQ(diff_of(before, after).tensors.size(), 1U);
}

TEST(ReportDiff, VersionsBeforeAreRead) {
  json before = to_json(failing_report());
  before["schema_version"] = "1.0";
  before.erase("error_maps_left_out");
  for (std::size_t index = 0; index < before["cases"].size(); ++index) {
    json& record = before["cases"][index];
    record["schema_version"] = "1.0";
    record["comparisons"] =
        selftest::comparisons_before_13(failing_report().cases[index].comparisons);
    for (const char* added : {"paths", "curves", "kl_readings"}) {
      record.erase(added);
    }
  }
  const Report old_report = report_from_json(before, "a");
  EXPECT_TRUE(diff_of(old_report, failing_report()).empty());
}

/// Markdown without its code spans, each from a run of backticks to the next run as long.
std::string without_code(std::string_view markdown) {
  std::string out;
  while (!markdown.empty()) {
    const std::size_t run = std::min(markdown.find_first_not_of('`'), markdown.size());
    const std::string fence(markdown.substr(0, run));
    std::size_t close = run;
    while (run > 0 && close < markdown.size()) {
      close = std::min(markdown.find('`', close), markdown.size());
      const std::size_t end = std::min(markdown.find_first_not_of('`', close), markdown.size());
      if (end - close == run) {
        break;
      }
      close = end;
    }
    const bool is_span = run > 0 && close < markdown.size();
    out += is_span ? "" : run > 0 ? fence : std::string(1, markdown.front());
    markdown.remove_prefix(is_span ? close + run : std::max<std::size_t>(run, 1));
  }
  return out;
}

TEST(ReportDiff, HostileNamesActNeitherInHtmlNorInMarkdown) {
  const std::string page =
      diff_page(diff_of(passing_report(), selftest::report_made_of(selftest::hostile_name())));
  expect_sound(page);
  EXPECT_FALSE(contains(page, "alert('1')"));
  const std::string markdown = without_code(diff_markdown(diff_of(
      passing_report(), selftest::report_made_of(selftest::hostile_name() +
                                                 " @all #1 [a](http://b) ~~x~~ *y* _z_ `` |"))));
  for (const char* acting : {"script", "@all", "#1", "](", "~~", "*y*", "_z_", "\x1b", "`"}) {
    EXPECT_FALSE(contains(markdown, acting)) << acting;
  }
}

TEST(ReportDiff, LongListsAreCutAndCounted) {
  Report before = passing_report();
  Report after = before;
  for (int index = 0; index < 500; ++index) {
    judge::CaseRecord record = before.cases[0];
    record.name = "claim-" + std::to_string(index);
    after.cases.push_back(record);
  }
  after.suite_runs[0].cases += 500;
  after.suite_runs[0].comparisons += 500;
  const ReportDiff diff = diff_of(before, after);
  EXPECT_EQ(diff.cases.size(), 500U);
  EXPECT_TRUE(contains(diff_markdown(diff), "And 480 more."));
  EXPECT_LT(diff_markdown(diff).size(), 65'000U);  // what a comment may have
  EXPECT_TRUE(contains(diff_page(diff), "And 200 more"));
}

TEST(ReportDiff, JsonMeetsItsSchema) {
  const json schema = core::read_json(
      std::filesystem::path(SPARITY_SOURCE_DIR) / "reports/schema/report-diff-1.0.schema.json",
      {.max_depth = 16});
  Report unlike = failing_report();
  unlike.provenance.seed = 2;
  unlike.cases[0].comparisons[0].tensor = "another";
  for (const ReportDiff& diff :
       {diff_of(passing_report(), unlike), diff_of(unlike, passing_report()),
        diff_of(report_at(0.5), report_at(std::nan(""))), diff_of(Report{}, Report{})}) {
    const std::vector<std::string> violations = schema_violations(schema, to_json(diff));
    EXPECT_TRUE(violations.empty()) << violations.front();
  }
}

}  // namespace
}  // namespace sparity::reports
