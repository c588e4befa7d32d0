#include "reports/html.h"
#include "reports/junit.h"
#include "reports/render.h"
#include "reports/report_json.h"
#include "reports/summary.h"
#include "src/core/error.h"
#include "src/core/file_io.h"
#include "suites/selftest/markup.h"
#include "suites/selftest/reports_sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>

namespace sparity::reports {
namespace {

using selftest::contains;
using selftest::failing_report;
using selftest::Markup;
using selftest::passing_report;
using selftest::scan_markup;

std::int64_t elements(const Markup& markup, const std::string& name) {
  return std::ranges::count(markup.elements, name);
}

/// Well-formed, and its totals count what is there.
Markup expect_sound_junit(const std::string& xml) {
  Markup markup = scan_markup(xml);
  EXPECT_EQ(markup.error, "");
  const std::string totals = "tests=" + std::to_string(elements(markup, "testcase"));
  EXPECT_EQ(markup.attributes.at(1), totals);
  EXPECT_EQ(markup.attributes.at(2), "failures=" + std::to_string(elements(markup, "failure")));
  EXPECT_EQ(markup.attributes.at(3), "errors=" + std::to_string(elements(markup, "error")));
  EXPECT_EQ(markup.attributes.at(4), "skipped=" + std::to_string(elements(markup, "skipped")));
  return markup;
}

TEST(ReportJunit, EveryCaseIsATestcase) {
  const Markup markup = expect_sound_junit(junit_xml(passing_report()));
  EXPECT_EQ(elements(markup, "testcase"), 12);
  EXPECT_EQ(elements(markup, "failure") + elements(markup, "error"), 0);
}

TEST(ReportJunit, FailureSaysWhereAndHowToRerun) {
  const std::string xml = junit_xml(failing_report());
  const Markup markup = expect_sound_junit(xml);
  EXPECT_EQ(elements(markup, "failure"), 1);
  EXPECT_TRUE(contains(markup.text, "first divergence: layers.1.self_attn.indexer.q"));
  EXPECT_TRUE(contains(markup.text, "rerun: sparity check indexer --filter second-claim"));
}

TEST(ReportJunit, SuiteWithoutOutcomeAndCrashAreErrors) {
  Report report = passing_report();
  report.expected.push_back({"loss", "float32"});
  report.suite_runs.front().signal_number = 11;
  const Markup markup = expect_sound_junit(junit_xml(report));
  EXPECT_EQ(elements(markup, "error"), 2);
  EXPECT_EQ(elements(markup, "testcase"), 14);
}

TEST(ReportJunit, InconclusiveIsNoGreenTest) {
  Report report = passing_report();
  report.cases.front().verdict = judge::Verdict::kInconclusive;
  EXPECT_EQ(elements(expect_sound_junit(junit_xml(report)), "error"), 1);
}

TEST(ReportJunit, HostileNamesComeOutHarmless) {
  expect_sound_junit(junit_xml(selftest::report_made_of(selftest::hostile_name())));
}

TEST(ReportSummary, FitsATerminalAndLeadsToTheFailure) {
  const std::string summary = console_summary(failing_report(), false);
  EXPECT_LE(std::ranges::count(summary, '\n'), 20);
  EXPECT_TRUE(summary.starts_with("FAILED"));
  for (const char* part :
       {"layers.1.self_attn.indexer.q", "F01", "indexer · bfloat16",
        "sparity check indexer --filter second-claim", "6 suite runs expected"}) {
    EXPECT_TRUE(contains(summary, part)) << part;
  }
}

TEST(ReportSummary, StaysShortWhenEverythingFails) {
  Report report = failing_report();
  for (int index = 0; index < 100; ++index) {
    report.expected.push_back({"suite" + std::to_string(index), "float32"});
  }
  report.known_mistakes.assign(50, {"F01", "a mistake", "indexer", "indexer.q"});
  report.complete = false;
  report.provenance.planted_fault = "F01";
  EXPECT_LE(std::ranges::count(console_summary(report, false), '\n'), 20);
}

TEST(ReportSummary, ColoursOnlyWhenTold) {
  EXPECT_FALSE(contains(console_summary(failing_report(), false), "\x1b"));
  EXPECT_TRUE(contains(console_summary(failing_report(), true), "\x1b[1;31m"));
  EXPECT_TRUE(contains(console_summary(passing_report(), true), "\x1b[1;32m"));
}

TEST(ReportSummary, HostileNamesComeOutHarmless) {
  const std::string summary =
      console_summary(selftest::report_made_of(selftest::hostile_name()), false);
  EXPECT_FALSE(contains(summary, "\x1b"));
  EXPECT_FALSE(contains(summary, "\xE2\x80\xAE"));
  EXPECT_LE(std::ranges::count(summary, '\n'), 20);
}

TEST(ReportSummary, IncompleteReportIsLabelled) {
  Report report = passing_report();
  report.complete = false;
  const std::string summary = console_summary(report, false);
  EXPECT_TRUE(summary.starts_with("INCONCLUSIVE"));
  EXPECT_TRUE(contains(summary, "incomplete"));
}

class RenderedFolder : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / "sparity_reports_render_test";
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

TEST_F(RenderedFolder, HoldsThreeFilesAndNothingElse) {
  write_all(failing_report(), folder_);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"index.html", "junit.xml", "report.json"}));
}

TEST_F(RenderedFolder, RenderingTheFileGivesWhatTheRunWrote) {
  const Rendered first = write_all(failing_report(), folder_);
  const std::string html = core::read_text_file(first.html, 10'000'000);
  std::filesystem::remove(first.html);
  std::filesystem::remove(first.junit);
  const Rendered second = render(folder_ / "report.json");
  EXPECT_EQ(core::read_text_file(second.html, 10'000'000), html);
  EXPECT_EQ(html, html_page(failing_report()));
  EXPECT_EQ(core::read_text_file(second.junit, 10'000'000), junit_xml(failing_report()));
}

TEST_F(RenderedFolder, MissingFolderIsBadInput) {
  try {
    write_all(passing_report(), folder_ / "none");
    FAIL() << "nothing was thrown";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
  }
}

}  // namespace
}  // namespace sparity::reports
