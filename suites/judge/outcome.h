#pragma once

#include "src/core/error.h"
#include "suites/judge/record.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace sparity::judge {

/// What a process says for a verdict: 0 pass, 1 fail, 3 inconclusive, 77 skip, 4 crash, time-out
/// and out of memory, 5 bad input, 6 harness fault.
core::ExitCode exit_code(Verdict verdict);

/// Verdict of a case from what it holds. Harness fault: a "truth" or "baseline" gate failed, a
/// required condition was not exercised, or nothing was compared. Fail: a blocking gate failed, or
/// a trace point is a bug or unexplained. Inconclusive: every comparison is undecided. Else pass.
Verdict judged_verdict(const CaseRecord& record);

/// Sets verdict, message (one sentence: what failed, both sides) and, when it is empty,
/// first_divergence from the trace.
void settle(CaseRecord& record);

/// The verdict to count: the recorded one, unless the record says pass and its own gates say
/// otherwise.
Verdict effective_verdict(const CaseRecord& record);

/// Verdict of several: the first that occurs of bad input, harness fault, crash / time-out / out of
/// memory, fail, inconclusive; pass when any passed; skip when all were skipped; harness fault when
/// there are none.
Verdict combine(std::span<const Verdict> verdicts);

/// One suite of a run, from the journal.
struct SuiteOutcome {
  std::string suite;
  Verdict verdict = Verdict::kHarnessFault;
  std::int64_t cases = 0;
  std::int64_t comparisons = 0;
  std::string message;  // why not pass: the first such case's
};

/// A run, from the journal and the list of suites that were to run.
struct RunOutcome {
  Verdict verdict = Verdict::kHarnessFault;
  core::ExitCode exit_code = core::ExitCode::kHarnessFault;
  std::vector<SuiteOutcome> suites;  // in the order expected, then those nobody expected
  std::vector<std::string> missing;  // expected, and no record: each counts as a harness fault
  std::int64_t comparisons = 0;
};

/// Counts `selections` as comparisons too only through their Comparison. A run that passed and
/// compared nothing is a harness fault.
RunOutcome judge_run(std::span<const CaseRecord> records,
                     std::span<const std::string> expected_suites);

}  // namespace sparity::judge
