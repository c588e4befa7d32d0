// Sections of the page that are about gradients.

#include "reports/html.h"
#include "suites/judge/outcome.h"
#include "suites/selftest/reports_sample.h"
#include "suites/selftest/sound_page.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace sparity::reports {
namespace {

using selftest::contains;
using selftest::expect_sound;
using selftest::passing_report;

/// The gradients suite with one parameter, and a path a kind.
Report report_with_gradients(double headroom, std::int64_t agreeing) {
  Report report = passing_report();
  judge::CaseRecord record = selftest::sample_case({"norm", "float32"}, "of-gradients", true);
  record.comparisons[0].tensor = "grad.model.layers.1.self_attn.o_proj.weight";
  record.comparisons[0].gates = {selftest::sample_gate(headroom * 1e-7, 1e-7)};
  record.paths = {
      {"LM loss", "head", {.non_zero = 3}, {.zero = 3 - agreeing, .non_zero = agreeing}, agreeing},
      {"LM loss", "router biases", {.none = 2}, {.none = 2}, 2}};
  judge::settle(record);
  report.cases.push_back(record);
  return report;
}

TEST(ReportGradients, GradientPathsAreAGridOfLetters) {
  const std::string text = expect_sound(html_page(report_with_gradients(0.5, 3))).text;
  for (const char* part : {"Gradient paths", "2 paths as expected", "LM loss", "router biases"}) {
    EXPECT_TRUE(contains(text, part)) << part;
  }
  EXPECT_FALSE(contains(html_page(passing_report()), "Gradient paths"));
}

TEST(ReportGradients, AGradientPathThatIsNotAsExpectedIsOpenAndSaysWhat) {
  const std::string page = html_page(report_with_gradients(0.5, 1));
  const std::string text = expect_sound(page).text;
  EXPECT_TRUE(contains(text, "1 of 2 paths not as expected"));
  EXPECT_TRUE(contains(text, "2 of 3 parameters"));
  EXPECT_TRUE(contains(page, "<details open><summary>1 of 2 paths"));
}

TEST(ReportGradients, GradientsByParameterStandWorstFirst) {
  Report report = report_with_gradients(0.5, 3);
  judge::CaseRecord worse = report.cases.back();
  worse.name = "of-worse-gradients";
  worse.comparisons[0].tensor = "grad.lm_head.weight";
  worse.comparisons[0].gates = {selftest::sample_gate(4e-7, 1e-7)};
  report.cases.push_back(worse);
  worse.comparisons[0].tensor = "grad.model.claimed.weight";
  worse.comparisons[0].gates[0].name = "holds";
  report.cases.push_back(worse);
  const std::string text = expect_sound(html_page(report)).text;
  EXPECT_TRUE(contains(text, "1 of 2 parameters beyond what is allowed"));
  const std::size_t section = text.find("Gradients by parameter");
  ASSERT_NE(section, std::string::npos);
  EXPECT_LT(text.find("lm_head.weight", section),
            text.find("model.layers.1.self_attn.o_proj.weight", section));
}

}  // namespace
}  // namespace sparity::reports
