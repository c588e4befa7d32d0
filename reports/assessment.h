#pragma once

#include "reports/report.h"
#include "src/core/error.h"
#include "suites/judge/record.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sparity::reports {

/// One row of the suite table: what was expected or run, and what its records say.
struct SuiteRow {
  SuiteId id;
  const SuiteRun* run = nullptr;   // null: no outcome
  std::vector<std::size_t> cases;  // indices into Report::cases
  judge::Verdict verdict = judge::Verdict::kHarnessFault;
  bool expected = false;
  std::string why;  // one sentence; empty on pass
  std::int64_t comparisons = 0;
  double worst_headroom = 0;  // over blocking gates of every comparison
};

/// Suite runs by how they ended. Every row of the suite table is counted exactly once:
/// expected + unexpected = run + missing, and run is the sum of the verdicts' counts.
struct Counts {
  std::int64_t expected = 0;
  std::int64_t unexpected = 0;  // ran, and nobody had listed them
  std::int64_t run = 0;         // have an outcome, skips included
  std::int64_t missing = 0;     // have none
  std::int64_t passed = 0;
  std::int64_t failed = 0;
  std::int64_t inconclusive = 0;
  std::int64_t skipped = 0;
  std::int64_t crashed = 0;
  std::int64_t timed_out = 0;
  std::int64_t out_of_memory = 0;
  std::int64_t bad_input = 0;
  std::int64_t harness_faults = 0;
  std::int64_t cases = 0;
  std::int64_t cases_not_passed = 0;  // skipped ones not among them
  std::int64_t cases_skipped = 0;     // records of skipped cases and entries of Report::skipped
  std::int64_t comparisons = 0;
  std::int64_t comparisons_failed = 0;
  std::int64_t comparisons_undecided = 0;

  bool operator==(const Counts&) const = default;
};

/// What a report's records amount to. Borrows from the Report.
struct Assessment {
  judge::Verdict verdict = judge::Verdict::kHarnessFault;
  core::ExitCode exit_code = core::ExitCode::kHarnessFault;
  Counts counts;
  std::vector<SuiteRow> rows;           // as expected, then those nobody expected
  std::vector<std::size_t> not_passed;  // cases that neither passed nor were skipped, in row order
  std::optional<std::size_t> leading_case;  // the first of them that names a tensor, else the first
  std::string first_divergence;             // of the leading case; empty when no tensor is to blame
  std::string why;                          // one sentence, also on pass
  std::int64_t conditions_not_exercised = 0;  // by distinct name
};

/// Derives verdict, exit code and counts from the records alone (judge/outcome.h decides each).
/// Against the wishes of whoever filled the report in:
///
/// - a suite that was expected and has no outcome is a harness fault; in a report that isn't
///   complete, it is inconclusive ("not reached"), and such a report never passes;
/// - a suite run is no better than its worst case; one that passed without a comparison, that
///   counts more or fewer cases or comparisons than its records hold, that passed with another exit
///   code than 0, or that has two outcomes, is a harness fault; one ended by a signal has crashed,
///   unless its supervisor says time-out or out of memory;
/// - a run that passed, of whose comparisons more than 2 % are undecided, is inconclusive;
/// - a report with nothing expected and nothing run is a harness fault.
Assessment assess(const Report& report);

/// The tensor that a case puts the blame on: its first divergence, else its first failed
/// comparison; empty when there is neither.
std::string blamed_tensor(const judge::CaseRecord& record);

/// Known mistakes that show first at `tensor`, those of the case's own suite first.
std::vector<const KnownMistake*> mistakes_at(const Report& report, const judge::CaseRecord& record,
                                             const std::string& tensor);

/// "indexer · bfloat16", and the device when it is not the CPU.
std::string label(const SuiteId& id);

/// "failed", "timed out", …: how reports spell a verdict.
std::string_view words(judge::Verdict verdict);

}  // namespace sparity::reports
