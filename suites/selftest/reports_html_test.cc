#include "reports/html.h"
#include "reports/html_style.h"
#include "reports/text.h"
#include "suites/judge/outcome.h"
#include "suites/selftest/markup.h"
#include "suites/selftest/reports_sample.h"
#include "suites/selftest/sound_page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::reports {
namespace {

using selftest::contains;
using selftest::expect_sound;
using selftest::failing_report;
using selftest::Markup;
using selftest::passing_report;
using selftest::scan_markup;

TEST(ReportHtml, IsOneFileWithoutScriptOrRequest) {
  for (const Report& report : {passing_report(), failing_report()}) {
    const std::string page = html_page(report);
    expect_sound(page);
    EXPECT_TRUE(contains(page, "default-src 'none'; style-src 'unsafe-inline'; img-src data:"));
    EXPECT_TRUE(contains(page, "<html lang=\"en\">"));
  }
}

TEST(ReportHtml, EveryCaseOfEverySuiteStandsInIt) {
  Report report = passing_report();
  for (std::size_t index = 0; index < report.cases.size(); ++index) {
    report.cases[index].name = "claim-number-" + std::to_string(index) + "-";
  }
  const std::string text = scan_markup(html_page(report)).text;
  for (const judge::CaseRecord& record : report.cases) {
    EXPECT_TRUE(contains(text, record.name)) << record.name;
  }
}

TEST(ReportHtml, FailingPageLeadsToTensorMistakeAndRerun) {
  const Markup markup = expect_sound(html_page(failing_report()));
  const std::size_t banner_end = markup.text.find("suite runs expected");
  ASSERT_NE(banner_end, std::string::npos);
  const std::string_view banner = std::string_view(markup.text).substr(0, banner_end);
  EXPECT_TRUE(contains(banner, "Parity failed"));
  EXPECT_TRUE(contains(banner, "layers.1.self_attn.indexer.q"));
  EXPECT_TRUE(contains(banner, "F01"));
  EXPECT_TRUE(contains(banner, "sparity check indexer --filter second-claim"));
  for (const char* evidence :
       {"G1", "Worst elements", "[1, 52, 3]", "Where the error sits", "Error against magnitude",
        "Local headroom", "Discrete choices", "padded rows", "no CUDA device on this machine"}) {
    EXPECT_TRUE(contains(markup.text, evidence)) << evidence;
  }
}

TEST(ReportHtml, PassingPageIsShortAndShowsNoCard) {
  const std::string page = html_page(passing_report());
  EXPECT_TRUE(contains(page, "Parity holds"));
  EXPECT_FALSE(contains(page, "id=\"failures\""));
  EXPECT_FALSE(contains(page, "<details open"));
  EXPECT_LT(page.size(), 60'000U);
}

TEST(ReportHtml, SuiteWithoutOutcomeIsShownAsSuch) {
  Report report = passing_report();
  report.expected.push_back({"loss", "float32"});
  const std::string text = expect_sound(html_page(report)).text;
  EXPECT_TRUE(contains(text, "no outcome"));
  EXPECT_TRUE(contains(text, "loss · float32"));
  EXPECT_TRUE(contains(text, "The harness is at fault"));
}

TEST(ReportHtml, IncompleteReportIsLabelled) {
  Report report = passing_report();
  report.complete = false;
  report.finished_utc.clear();
  report.expected.push_back({"loss", "float32"});
  const std::string text = expect_sound(html_page(report)).text;
  EXPECT_TRUE(contains(text, "Incomplete."));
  EXPECT_TRUE(contains(text, "not reached"));
  EXPECT_FALSE(contains(text, "Parity holds"));
  EXPECT_FALSE(contains(html_page(passing_report()), "Incomplete."));
}

TEST(ReportHtml, PlantedFaultIsAnnounced) {
  Report report = failing_report();
  report.provenance.planted_fault = "F01";
  EXPECT_TRUE(contains(html_page(report), "Planted fault F01."));
}

TEST(ReportHtml, HostileNamesComeOutHarmless) {
  const std::string page = html_page(selftest::report_made_of(selftest::hostile_name()));
  expect_sound(page);
  EXPECT_FALSE(contains(page, "alert('1')"));
  EXPECT_TRUE(contains(page, "\\u{1B}[31m"));
  EXPECT_TRUE(contains(page, "\\u{202E}"));
}

TEST(ReportHtml, NamesOfAHundredThousandCharactersAreCutAndCounted) {
  const std::string page = html_page(selftest::report_made_of(std::string(100'000, 'x')));
  expect_sound(page);
  EXPECT_TRUE(contains(page, "(100000 bytes)"));
  EXPECT_LT(page.size(), 1'000'000U);
}

TEST(ReportHtml, DegenerateFiguresBreakNoChart) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const double value : {0.0, -0.0, kNan, HUGE_VAL, -HUGE_VAL, -1.0, 5e-324, 1.7e308}) {
    for (const std::size_t points : {0U, 1U, 2U, 500U}) {
      Report report = failing_report();
      judge::CaseRecord& record = report.cases.back();
      judge::Comparison& comparison = record.comparisons[0];
      comparison.buckets.assign(points, {value, value, 0, value, value, value});
      comparison.worst = {{{}, value, value, value, value, value}};
      comparison.error_map = judge::ErrorMap{1, 3, {value, value, value}};
      comparison.rms_truth = value;
      comparison.shape = {};
      record.trace.assign(
          points, {"layers.0", value, value, value, value, judge::DivergenceClass::kUnexplained});
      record.curves[0].steps.resize(points);
      std::iota(record.curves[0].steps.begin(), record.curves[0].steps.end(), 1);
      record.curves[0].truth.assign(points, value);
      record.curves[0].baseline.assign(points, -value);
      record.curves[0].candidate.assign(points, value / 2);
      record.kl_readings[0].candidate = value;
      record.selections[0].worst_margin = value;
      record.selections[0].allowed_margin = value;
      record.seconds = value;
      const std::string page = html_page(report);
      expect_sound(page);
      for (const char* broken : {"\"nan", "\"inf", "\"-inf", "nan\"", "inf\"", "Mnan", "Lnan",
                                 "Minf", "Linf", " nan", " -nan", " -inf"}) {
        EXPECT_FALSE(contains(page, broken)) << value << ' ' << points << ' ' << broken;
      }
    }
  }
}

TEST(ReportHtml, InconsistentErrorMapIsASentence) {
  Report report = failing_report();
  for (const judge::ErrorMap& map :
       {judge::ErrorMap{0, 0, {}}, judge::ErrorMap{2, 2, {1}}, judge::ErrorMap{-1, -1, {1}},
        judge::ErrorMap{65, 1, std::vector<double>(65)},
        judge::ErrorMap{1'000'000, 1'000'000, {}}}) {
    report.cases.back().comparisons[0].error_map = map;
    EXPECT_TRUE(contains(expect_sound(html_page(report)).text, "No error map"));
  }
}

TEST(ReportHtml, ChoicesOfOneTensorAreSummedAndTheWorstMarginKept) {
  Report report = failing_report();
  judge::CaseRecord& record = report.cases.back();
  record.selections.push_back(record.selections[0]);
  record.selections.back().worst_margin = 0.5;
  record.selections.push_back(record.selections[0]);
  record.selections.back().tensor = "another";
  record.selections.back().flips = std::numeric_limits<std::int64_t>::max();
  const std::string text = expect_sound(html_page(report)).text;
  EXPECT_TRUE(contains(text, "8 of 2000"));
  EXPECT_TRUE(contains(text, "9223372036854775807 of 3000 choices flipped"));
  EXPECT_TRUE(contains(text, "some beyond what rounding explains"));
}

TEST(ReportHtml, EveryChartHasATableTwin) {
  const Markup markup = scan_markup(html_page(failing_report()));
  EXPECT_EQ(std::ranges::count(markup.attributes, "role=img"), 6);
  for (const char* twin : {"Magnitudes, as a table", "2 traced tensors, as a table",
                           "3 steps, as a table", "Blocks over the limit"}) {
    EXPECT_TRUE(contains(markup.text, twin)) << twin;
  }
}

TEST(ReportHtml, CurvesShowEveryLossAndReadingsEveryOption) {
  Report report = failing_report();
  report.cases.back().curves.push_back(report.cases.back().curves[0]);
  report.cases.back().curves.back().title = "KL loss";
  const std::string page = html_page(report);
  const std::string text = expect_sound(page).text;
  for (const char* shown : {"Loss curves", "LM loss", "KL loss", "step 3: candidate 4.25",
                            "step 3: |candidate − truth| 1.25", "KL reductions", "4200"}) {
    EXPECT_TRUE(contains(text, shown)) << shown;
  }
  // Linear: three equal steps of truth are three equal heights.
  const std::size_t at = page.find("series truth\"><path d=\"M",
                                   page.find("role=\"img\"", page.find("id=\"curves\"")));
  ASSERT_NE(at, std::string::npos);
  double x[3];
  double y[3];
  ASSERT_EQ(std::sscanf(page.c_str() + at, "series truth\"><path d=\"M%lf %lfL%lf %lfL%lf %lf",
                        &x[0], &y[0], &x[1], &y[1], &x[2], &y[2]),
            6);
  EXPECT_NEAR(y[1] - y[0], y[2] - y[1], 0.2);
  EXPECT_GT(y[2], y[0]);
  EXPECT_FALSE(contains(html_page(passing_report()), "id=\"curves\""));
  EXPECT_FALSE(contains(html_page(passing_report()), "id=\"kl-readings\""));
}

TEST(ReportHtml, LinksToACaseStayWhenOthersComeAndGo) {
  const auto anchors = [](const Report& report) {
    const Markup markup = scan_markup(html_page(report));
    std::set<std::string> found;
    std::ranges::copy_if(markup.ids, std::inserter(found, found.end()),
                         [](const std::string& id) { return contains(id, "case="); });
    return found;
  };
  Report report = passing_report();
  const std::set<std::string> before = anchors(report);
  EXPECT_EQ(before.size(), report.cases.size());
  report.cases.erase(report.cases.begin());
  for (const std::string& anchor : anchors(report)) {
    EXPECT_TRUE(before.contains(anchor)) << anchor;
  }
}

TEST(ReportHtml, CaseRecordedTwiceKeepsIdsUnique) {
  Report report = failing_report();
  report.cases.push_back(report.cases.back());
  expect_sound(html_page(report));
}

TEST(ReportHtml, ChartOfACaseWhoseCardHasNoPlotsStandsWithThoseOfTheModel) {
  Report report = failing_report();
  const judge::CaseRecord traced = report.cases.back();
  judge::CaseRecord plain = traced;
  plain.trace.clear();
  report.cases.assign(20, plain);
  report.cases.push_back(traced);
  for (std::size_t index = 0; index < report.cases.size(); ++index) {
    report.cases[index].name += std::to_string(index);
  }
  const std::string page = html_page(report);
  expect_sound(page);
  const std::size_t section = page.find("<section id=\"layers\">");
  ASSERT_NE(section, std::string::npos);
  EXPECT_NE(page.find("Local headroom", section), std::string::npos);
  EXPECT_FALSE(contains(page, "chart on its card"));
  EXPECT_TRUE(contains(html_page(failing_report()), "chart on its card"));
}

TEST(ReportHtml, RunInWhichEverythingFailsStaysSmallEnoughToOpen) {
  Report report = failing_report();
  judge::Comparison failed = selftest::sample_comparison("layers.0.self_attn", false);
  failed.error_map = judge::ErrorMap{64, 64, std::vector<double>(4096)};
  for (std::size_t cell = 0; cell < 4096; ++cell) {
    failed.error_map->cells[cell] = cell % 2 == 0 ? 0.5 : 100;
  }
  judge::CaseRecord record = report.cases.back();
  record.comparisons.assign(120, failed);
  record.trace.assign(1000, record.trace.front());
  report.cases.assign(300, record);
  for (std::size_t index = 0; index < report.cases.size(); ++index) {
    report.cases[index].name += std::to_string(index);
  }
  const std::string page = html_page(report);
  expect_sound(page);
  EXPECT_LT(page.size(), 20'000'000U);
  EXPECT_TRUE(contains(page, "And 20 more, in report.json."));
}

// --- Colours ------------------------------------------------------------------------------------

/// Relative luminance of "#rrggbb" (WCAG 2.2).
double luminance(const std::string& colour) {
  double sum = 0;
  const double weights[] = {0.2126, 0.7152, 0.0722};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const double value = std::stoi(colour.substr(1 + 2 * channel, 2), nullptr, 16) / 255.0;
    sum += weights[channel] *
           (value <= 0.04045 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4));
  }
  return sum;
}

double contrast(const std::string& one, const std::string& other) {
  const double a = luminance(one);
  const double b = luminance(other);
  return (std::max(a, b) + 0.05) / (std::min(a, b) + 0.05);
}

/// The "--name: #rrggbb" pairs of the first :root block at or after `from`.
std::map<std::string, std::string> palette(std::string_view from) {
  std::map<std::string, std::string> found;
  std::string_view block = from.substr(0, from.find('}'));
  for (std::size_t at = block.find("--"); at != std::string_view::npos; at = block.find("--", at)) {
    const std::size_t colon = block.find(':', at);
    if (block.substr(colon, 3) == ": #") {
      found[std::string(block.substr(at + 2, colon - at - 2))] =
          std::string(block.substr(colon + 2, 7));
    }
    at = colon;
  }
  return found;
}

TEST(ReportHtml, ColoursContrastInLightAndDark) {
  const std::string_view style = stylesheet();
  const auto light = palette(style.substr(style.find(":root")));
  const auto dark = palette(style.substr(style.find("prefers-color-scheme: dark")));
  for (const auto& colours : {light, dark}) {
    ASSERT_EQ(colours.size(), 16U);
    for (const char* background : {"paper", "card", "wash"}) {
      for (const char* text : {"ink", "quiet", "link", "pass", "fail", "warn", "skip", "odd"}) {
        EXPECT_GE(contrast(colours.at(text), colours.at(background)), 4.5)
            << text << " on " << background;
      }
      for (const char* line : {"edge", "candidate", "baseline", "predicted"}) {
        EXPECT_GE(contrast(colours.at(line), colours.at(background)), 3.0)
            << line << " on " << background;
      }
    }
  }
}

}  // namespace
}  // namespace sparity::reports
