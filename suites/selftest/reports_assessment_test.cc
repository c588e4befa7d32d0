#include "reports/assessment.h"
#include "suites/judge/outcome.h"
#include "suites/selftest/reports_sample.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace sparity::reports {
namespace {

using judge::Verdict;
using selftest::failing_report;
using selftest::passing_report;

void expect_counts_add_up(const Report& report) {
  const Counts counts = assess(report).counts;
  EXPECT_EQ(counts.expected + counts.unexpected, counts.run + counts.missing);
  EXPECT_EQ(counts.run, counts.passed + counts.failed + counts.inconclusive + counts.skipped +
                            counts.crashed + counts.timed_out + counts.out_of_memory +
                            counts.bad_input + counts.harness_faults);
}

TEST(ReportAssessment, CleanRunPasses) {
  const Report report = passing_report();
  const Assessment result = assess(report);
  EXPECT_EQ(result.verdict, Verdict::kPass);
  EXPECT_EQ(result.exit_code, core::ExitCode::kPass);
  EXPECT_EQ(result.counts.expected, 6);
  EXPECT_EQ(result.counts.passed, 6);
  EXPECT_EQ(result.counts.cases, 12);
  EXPECT_EQ(result.counts.comparisons, 12);
  EXPECT_TRUE(result.not_passed.empty());
  expect_counts_add_up(report);
}

TEST(ReportAssessment, FailureNamesTensorCaseAndKnownMistake) {
  const Report report = failing_report();
  const Assessment result = assess(report);
  EXPECT_EQ(result.verdict, Verdict::kFail);
  EXPECT_EQ(result.exit_code, core::ExitCode::kParityFailed);
  EXPECT_EQ(result.first_divergence, "layers.1.self_attn.indexer.q");
  ASSERT_TRUE(result.leading_case.has_value());
  const judge::CaseRecord& record = report.cases[*result.leading_case];
  EXPECT_EQ(record.name, "second-claim");
  const auto mistakes = mistakes_at(report, record, result.first_divergence);
  ASSERT_EQ(mistakes.size(), 1U);
  EXPECT_EQ(mistakes[0]->id, "F01");
  EXPECT_EQ(result.counts.comparisons_failed, 1);
  EXPECT_EQ(result.conditions_not_exercised, 1);
  expect_counts_add_up(report);
}

TEST(ReportAssessment, MistakeMatchesWholeStepsOfANameOnly) {
  Report report = failing_report();
  report.known_mistakes = {{"F99", "of another tensor", "indexer", "r.q"},
                           {"F98", "nowhere", "indexer", ""}};
  EXPECT_TRUE(mistakes_at(report, report.cases.back(), "layers.1.self_attn.indexer.q").empty());
}

TEST(ReportAssessment, MistakesOnTheWayBackStartAtGradientsAlone) {
  Report report = failing_report();
  report.known_mistakes = {{"F01", "of a value", "attention", "self_attn.k_rot"},
                           {"F71", "of a gradient", "gradients", "self_attn.k_rot"}};
  const auto only = [&](const std::string& tensor) {
    const auto mistakes = mistakes_at(report, report.cases.back(), tensor);
    return mistakes.size() == 1 ? mistakes[0]->id : "";
  };
  EXPECT_EQ(only("layers.1.self_attn.k_rot"), "F01");
  EXPECT_EQ(only("grad.layers.1.self_attn.k_rot"), "F71");
  EXPECT_EQ(only("trace.grad.layers.1.self_attn.k_rot"), "F71");
}

TEST(ReportAssessment, ExpectedSuiteWithoutOutcomeIsAHarnessFault) {
  Report report = passing_report();
  report.suite_runs.pop_back();
  report.cases.resize(report.cases.size() - 2);
  const Assessment result = assess(report);
  EXPECT_EQ(result.verdict, Verdict::kHarnessFault);
  EXPECT_EQ(result.exit_code, core::ExitCode::kHarnessFault);
  EXPECT_EQ(result.counts.missing, 1);
  EXPECT_EQ(result.counts.run, 5);
  EXPECT_NE(result.why.find("indexer · bfloat16"), std::string::npos);
  expect_counts_add_up(report);
}

TEST(ReportAssessment, SuiteWithoutOutcomeIsAFaultThoughItsCasesPassed) {
  Report report = passing_report();
  report.suite_runs.pop_back();
  EXPECT_EQ(assess(report).verdict, Verdict::kHarnessFault);
}

TEST(ReportAssessment, DroppedCaseIsAHarnessFault) {
  Report report = passing_report();
  report.cases.pop_back();
  report.suite_runs.back().comparisons = 1;  // the other count does not tell
  const Assessment result = assess(report);
  EXPECT_EQ(result.verdict, Verdict::kHarnessFault);
  EXPECT_EQ(result.counts.harness_faults, 1);
}

TEST(ReportAssessment, DroppedComparisonIsAHarnessFault) {
  Report report = passing_report();
  report.suite_runs.back().comparisons = 3;
  EXPECT_EQ(assess(report).verdict, Verdict::kHarnessFault);
}

TEST(ReportAssessment, SuiteThatComparedNothingIsAHarnessFault) {
  Report report = passing_report();
  report.cases.resize(report.cases.size() - 2);
  report.suite_runs.back().cases = 0;
  report.suite_runs.back().comparisons = 0;
  EXPECT_EQ(assess(report).verdict, Verdict::kHarnessFault);
}

TEST(ReportAssessment, PassWithAnotherExitCodeThanZeroIsAHarnessFault) {
  Report report = passing_report();
  report.suite_runs.front().exit_code = 1;
  EXPECT_EQ(assess(report).verdict, Verdict::kHarnessFault);
}

TEST(ReportAssessment, PassEndedByASignalIsACrash) {
  Report report = passing_report();
  report.suite_runs.front().signal_number = 11;
  const Assessment result = assess(report);
  EXPECT_EQ(result.verdict, Verdict::kCrash);
  EXPECT_EQ(result.exit_code, core::ExitCode::kCrashed);
  EXPECT_EQ(result.counts.crashed, 1);
}

TEST(ReportAssessment, TimeOutEndedByASignalStaysATimeOut) {
  Report report = passing_report();
  report.suite_runs.front().verdict = Verdict::kTimeout;
  report.suite_runs.front().signal_number = 9;
  EXPECT_EQ(assess(report).counts.timed_out, 1);
}

TEST(ReportAssessment, SuiteIsNoBetterThanItsWorstCase) {
  Report report = failing_report();
  report.suite_runs.back().verdict = Verdict::kPass;
  report.suite_runs.back().exit_code = 0;
  EXPECT_EQ(assess(report).verdict, Verdict::kFail);
}

TEST(ReportAssessment, CaseSaidToPassWhoseGateFailsFails) {
  Report report = failing_report();
  report.cases.back().verdict = Verdict::kPass;
  report.suite_runs.back().verdict = Verdict::kPass;
  report.suite_runs.back().exit_code = 0;
  EXPECT_EQ(assess(report).verdict, Verdict::kFail);
}

TEST(ReportAssessment, TwoOutcomesOfOneSuiteAreAHarnessFault) {
  Report report = passing_report();
  report.suite_runs.push_back(report.suite_runs.front());
  EXPECT_EQ(assess(report).verdict, Verdict::kHarnessFault);
  expect_counts_add_up(report);
}

TEST(ReportAssessment, SuiteNobodyExpectedIsCountedAndJudged) {
  Report report = failing_report();
  report.expected.pop_back();
  const Assessment result = assess(report);
  EXPECT_EQ(result.counts.unexpected, 1);
  EXPECT_EQ(result.verdict, Verdict::kFail);
  expect_counts_add_up(report);
}

TEST(ReportAssessment, IncompleteReportNeverPasses) {
  Report report = passing_report();
  report.complete = false;
  EXPECT_EQ(assess(report).verdict, Verdict::kInconclusive);
  report.suite_runs.pop_back();
  report.cases.resize(report.cases.size() - 2);
  EXPECT_EQ(assess(report).verdict, Verdict::kInconclusive);
  EXPECT_EQ(assess(report).exit_code, core::ExitCode::kInconclusive);
}

TEST(ReportAssessment, FailureOutranksWhatAnIncompleteRunDidNotReach) {
  Report report = failing_report();
  report.complete = false;
  report.expected.push_back({"loss", "float32"});
  EXPECT_EQ(assess(report).verdict, Verdict::kFail);
}

TEST(ReportAssessment, NothingExpectedAndNothingRunIsAHarnessFault) {
  Report report;
  report.complete = true;
  EXPECT_EQ(assess(report).exit_code, core::ExitCode::kHarnessFault);
  EXPECT_FALSE(assess(report).why.empty());
}

TEST(ReportAssessment, AllSkippedIsASkip) {
  Report report = passing_report();
  report.cases.clear();
  for (SuiteRun& run : report.suite_runs) {
    run.verdict = Verdict::kSkip;
    run.exit_code = 77;
    run.message = "no CUDA device";
    run.cases = 0;
    run.comparisons = 0;
  }
  EXPECT_EQ(assess(report).exit_code, core::ExitCode::kAllSkipped);
  EXPECT_EQ(assess(report).counts.skipped, 6);
  expect_counts_add_up(report);
}

TEST(ReportAssessment, HeadroomThatIsNoNumberIsTheWorst) {
  Report report = failing_report();
  report.cases.back().comparisons[0].gates[0] = selftest::sample_gate(std::nan(""), 1);
  report.cases.back().comparisons.push_back(selftest::sample_comparison("later", true));
  EXPECT_TRUE(std::isinf(assess(report).rows.back().worst_headroom));
}

}  // namespace
}  // namespace sparity::reports
