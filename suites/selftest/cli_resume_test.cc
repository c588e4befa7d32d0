// What `sparity check --resume` counts of a journal that is there.

#include "reports/report_json.h"
#include "suites/judge/journal.h"
#include "suites/selftest/program.h"
#include "suites/selftest/scratch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>

namespace sparity::selftest {
namespace {

using testing::HasSubstr;

/// A finished check of `norm` in float32, to be resumed with one more record in its journal.
class Resume : public testing::Test {
 protected:
  Resume() {
    EXPECT_EQ(run_sparity("check norm" + flags()).exit_code, 0);
    EXPECT_FALSE(records().empty());
  }

  std::string flags() const { return " --dtype float32 --out '" + folder_.path().string() + "'"; }
  std::filesystem::path journal() const { return folder_.path() / "results.jsonl"; }
  std::vector<judge::CaseRecord> records() const { return judge::read_journal(journal()).records; }

  void expect_refused(const std::function<void(judge::CaseRecord&)>& change,
                      const std::string& because) const {
    judge::CaseRecord record = records().front();
    change(record);
    judge::JournalWriter(journal()).append(record);
    const Finished done = run_sparity("check norm --resume" + flags());
    EXPECT_EQ(done.exit_code, 5) << done.out << done.err;
    EXPECT_THAT(done.out + done.err, HasSubstr(because));
  }

  ScratchFolder folder_;
};

TEST_F(Resume, ARecordTwiceIsRefused) {
  expect_refused([](judge::CaseRecord&) {}, "expected every case once");
}

TEST_F(Resume, ARecordOfNoCaseIsRefused) {
  expect_refused([](judge::CaseRecord& record) { record.name = "no_such_case"; }, "no_such_case");
}

TEST_F(Resume, ARecordOfAnotherRunIsRefused) {
  expect_refused(
      [](judge::CaseRecord& record) {
        record.name = "of_another_seed";
        record.seed = 77;
      },
      "seed: expected 1, found 77");
}

TEST_F(Resume, SuitesThatAreNotAskedForAreNotCounted) {
  const std::size_t norm = records().size();
  ASSERT_EQ(run_sparity("check rope --resume" + flags()).exit_code, 0);
  EXPECT_GT(records().size(), norm);
  const reports::Report report = reports::read_report(folder_.path() / "report.json");
  EXPECT_EQ(report.resumed_cases, 0);
  EXPECT_EQ(report.cases.size(), records().size() - norm);
  for (const judge::CaseRecord& record : report.cases) {
    EXPECT_EQ(record.suite, "rope");
  }
}

}  // namespace
}  // namespace sparity::selftest
