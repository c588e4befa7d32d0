// How many error maps a report keeps, and which.

#include "reports/error_maps.h"
#include "reports/html.h"
#include "reports/render.h"
#include "reports/report_json.h"
#include "suites/selftest/reports_sample.h"
#include "suites/selftest/scratch_folder.h"
#include "suites/selftest/sound_page.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

namespace sparity::reports {
namespace {

using judge::CaseRecord;
using judge::Comparison;

/// Cases of `each` comparisons that all fail, ever worse, with maps of 64 × 64 cells.
Report wholly_failing(std::size_t cases, std::size_t each) {
  Report report = selftest::failing_report();
  Comparison failed = selftest::sample_comparison("layers.0.self_attn", false);
  failed.error_map = judge::ErrorMap{64, 64, std::vector<double>(4096, 1.0 / 3)};
  CaseRecord record = report.cases.back();
  record.comparisons.assign(each, failed);
  record.kl_readings.clear();
  report.cases.assign(cases, record);
  double headroom = 2;
  for (std::size_t index = 0; index < cases; ++index) {
    report.cases[index].name += std::to_string(index);
    for (Comparison& comparison : report.cases[index].comparisons) {
      comparison.gates = {selftest::sample_gate(headroom, 1)};
      headroom += 1;
    }
  }
  return report;
}

std::vector<bool> maps_of(const CaseRecord& record) {
  std::vector<bool> there;
  std::ranges::transform(record.comparisons, std::back_inserter(there),
                         [](const Comparison& each) { return each.error_map.has_value(); });
  return there;
}

TEST(ErrorMaps, ThoseOfTheFirstAndTheWorstStay) {
  const Report report = wholly_failing(4, 5);
  const Report kept = with_few_error_maps(report, 7, 2);
  EXPECT_EQ(maps_of(kept.cases[0]), std::vector<bool>({true, true, true, false, false}));
  EXPECT_EQ(maps_of(kept.cases[1]), std::vector<bool>({true, true, true, false, false}));
  EXPECT_EQ(maps_of(kept.cases[2]), std::vector<bool>({true, false, false, false, false}));
  EXPECT_EQ(maps_of(kept.cases[3]), std::vector<bool>({false, false, false, true, true}));
  EXPECT_EQ(kept.error_maps_left_out, 20 - 9);
}

TEST(ErrorMaps, NothingElseChangesAndASecondTimeDoesNothing) {
  Report report = wholly_failing(4, 5);
  const Report kept = with_few_error_maps(report, 7, 2);
  EXPECT_EQ(to_json(with_few_error_maps(kept, 7, 2)), to_json(kept));
  for (CaseRecord& record : report.cases) {
    for (Comparison& comparison : record.comparisons) {
      comparison.error_map.reset();
    }
  }
  Report without = kept;
  without.error_maps_left_out = 0;
  for (CaseRecord& record : without.cases) {
    for (Comparison& comparison : record.comparisons) {
      comparison.error_map.reset();
    }
  }
  EXPECT_EQ(to_json(without), to_json(report));
  const Report few = with_few_error_maps(selftest::failing_report());
  EXPECT_EQ(to_json(few), to_json(selftest::failing_report()));
}

TEST(ErrorMaps, WhollyFailingReportStaysSmallAndSaysWhatItLeftOut) {
  const selftest::ScratchFolder folder;
  const Rendered written = write_all(wholly_failing(30, 40), folder.path());
  const auto size = std::filesystem::file_size(folder.path() / "report.json");
  EXPECT_LT(size, 10'000'000U);  // with all 1200 maps: 130 MB
  const Report read = read_report(folder.path() / "report.json");
  EXPECT_EQ(read.error_maps_left_out, 1200 - 48);
  std::ifstream page(written.html);
  const std::string html((std::istreambuf_iterator<char>(page)), {});
  EXPECT_EQ(html, html_page(read));
  EXPECT_NE(selftest::expect_sound(html).text.find("left out for 1152 comparisons"),
            std::string::npos);
}

}  // namespace
}  // namespace sparity::reports
