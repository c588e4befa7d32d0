// `sparity check` on good nights and bad ones.

#include "reports/assessment.h"
#include "reports/report_json.h"
#include "src/core/safetensors.h"
#include "suites/judge/journal.h"
#include "suites/selftest/program.h"
#include "suites/selftest/scratch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <signal.h>
#include <span>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace sparity::selftest {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string out_flag(const ScratchFolder& folder) {
  return " --out '" + folder.path().string() + "'";
}

reports::Report report_in(const ScratchFolder& folder) {
  return reports::read_report(folder.path() / "report.json");
}

TEST(Check, PassingRunLeavesAllFourFiles) {
  const ScratchFolder folder;
  const Finished done = run_sparity("check norm --dtype float32" + out_flag(folder));
  EXPECT_EQ(done.exit_code, 0) << done.out << done.err;
  for (const char* file : {"results.jsonl", "report.json", "index.html", "junit.xml"}) {
    EXPECT_TRUE(fs::exists(folder.path() / file)) << file;
  }
  const reports::Report report = report_in(folder);
  EXPECT_TRUE(report.complete);
  EXPECT_GT(reports::assess(report).counts.comparisons, 0);
}

TEST(Check, PlantedFaultFailsWithItsNameAndPlace) {
  const ScratchFolder folder;
  const Finished done = run_sparity("check norm --fault F43" + out_flag(folder));
  EXPECT_EQ(done.exit_code, 1);
  EXPECT_THAT(done.out, HasSubstr("rms_norm"));
  EXPECT_THAT(done.out, HasSubstr("F43"));
}

TEST(Check, CrashedSuiteIsNamedAndTheRestRuns) {
  const ScratchFolder folder;
  const Finished done =
      run_sparity("check norm rope --dtype float32 --fault C9" + out_flag(folder));
  EXPECT_EQ(done.exit_code, 4);
  const reports::Report report = report_in(folder);
  const reports::Counts counts = reports::assess(report).counts;
  EXPECT_EQ(counts.crashed, 1);
  EXPECT_EQ(counts.passed, 1);
  EXPECT_EQ(report.suite_runs.at(0).signal_number, SIGABRT);
}

TEST(Check, HangingSuiteIsStoppedAndTheRestRuns) {
  const ScratchFolder folder;
  const Finished done =
      run_sparity("check norm rope --dtype float32 --fault C10 --timeout 5" + out_flag(folder));
  EXPECT_EQ(done.exit_code, 4);
  const reports::Counts counts = reports::assess(report_in(folder)).counts;
  EXPECT_EQ(counts.timed_out, 1);
  EXPECT_EQ(counts.passed, 1);
}

TEST(Check, FilterThatMatchesNothingIsAHarnessFault) {
  const ScratchFolder folder;
  EXPECT_EQ(run_sparity("check norm --filter nothing" + out_flag(folder)).exit_code, 6);
}

TEST(Check, NoGpuIsSkippedAsAWhole) {
  const ScratchFolder folder;
  EXPECT_EQ(run_sparity("check norm --device cuda" + out_flag(folder)).exit_code, 77);
}

/// Starts a check in a process group of its own and sends it `signal` once the journal holds a
/// record; how it ended. What it started dies with it.
int start_and_signal(const ScratchFolder& folder, const std::string& arguments, int signal) {
  const std::string line = "exec " + sparity_line(arguments) + " >/dev/null 2>&1";
  const pid_t process = fork();
  EXPECT_GE(process, 0);
  if (process == 0) {
    setpgid(0, 0);
    execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    _exit(127);
  }
  const fs::path journal = folder.path() / "results.jsonl";
  for (int i = 0; i < 3000 && (!fs::exists(journal) || fs::file_size(journal) == 0); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill(process, signal);
  int status = 0;
  waitpid(process, &status, 0);
  return status;
}

TEST(Check, KilledRunLeavesAReadableJournalAndResumes) {
  const ScratchFolder folder;
  const std::string arguments = "check norm rope loss --dtype float32" + out_flag(folder);
  start_and_signal(folder, arguments, SIGKILL);
  const judge::JournalContent journal = judge::read_journal(folder.path() / "results.jsonl");
  ASSERT_GT(journal.records.size(), 0U);
  EXPECT_FALSE(fs::exists(folder.path() / "report.json"));
  const Finished resumed = run_sparity(arguments + " --resume");
  EXPECT_EQ(resumed.exit_code, 0) << resumed.out << resumed.err;
  EXPECT_GT(report_in(folder).resumed_cases, 0);
}

TEST(Check, WhoStopsItIsToldThatNothingIsDecided) {
  const ScratchFolder folder;
  const std::string arguments = "check masking norm --dtype float32" + out_flag(folder);
  const int status = start_and_signal(folder, arguments, SIGINT);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
  const reports::Report report = report_in(folder);
  EXPECT_FALSE(report.complete);
  for (const reports::SuiteRun& run : report.suite_runs) {
    EXPECT_TRUE(run.verdict == judge::Verdict::kPass ||
                run.message == "interrupted before it ended")
        << run.id.suite << ": " << run.message;
  }
  EXPECT_EQ(run_sparity(arguments + " --resume").exit_code, 0);
}

TEST(Check, InputsOfTheUsersOwnOweNothing) {
  const ScratchFolder folder;
  const fs::path in = folder.path() / "in.safetensors";
  std::vector<std::int64_t> ids(2 * 24);
  std::iota(ids.begin(), ids.end(), 1);  // rows of one length
  core::write_safetensors(
      in, {{"input_ids", core::Dtype::kI64, {2, 24}, std::as_bytes(std::span(ids))}});
  const Finished done = run_sparity(
      "check model masking attention --dtype float32 --config tiny "
      "--inputs '" +
      in.string() + "'" + out_flag(folder));
  EXPECT_EQ(done.exit_code, 0) << done.out << done.err;
  std::size_t not_exercised = 0;
  for (const judge::CaseRecord& record : report_in(folder).cases) {
    for (const judge::Condition& condition : record.conditions) {
      not_exercised += condition.exercised ? 0 : 1;
      EXPECT_TRUE(condition.exercised || !condition.required) << condition.name;
    }
  }
  EXPECT_GT(not_exercised, 0U);
}

TEST(Check, ModelAndConfigExcludeEachOther) {
  const Finished both = run_sparity("check norm --model x --config tiny");
  EXPECT_EQ(both.exit_code, 5);
  EXPECT_THAT(both.err, HasSubstr("--config"));
}

TEST(Check, ResumeRefusesAnotherRunsJournal) {
  const ScratchFolder folder;
  ASSERT_EQ(run_sparity("check norm --dtype float32 --seed 1" + out_flag(folder)).exit_code, 0);
  const Finished done =
      run_sparity("check norm --dtype float32 --seed 2 --resume" + out_flag(folder));
  EXPECT_EQ(done.exit_code, 5);
  EXPECT_THAT(done.err, HasSubstr("--resume"));
}

}  // namespace
}  // namespace sparity::selftest
