#pragma once

#include "suites/judge/record.h"

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::reports {

/// Of report.json.
inline constexpr std::string_view kReportSchemaVersion = "1.3";
/// Those before, which a reader accepts too: the cases of 1.2 hold every comparison as an object
/// with all of its figures; 1.1 has no `error_maps_left_out` and no loss curves and KL readings
/// either, and 1.0 no gradient paths besides.
inline constexpr std::array<std::string_view, 3> kReportSchemasBefore = {"1.0", "1.1", "1.2"};

/// What one process runs: a suite in one dtype on one device.
struct SuiteId {
  std::string suite;
  std::string dtype;  // "float32", …; empty for suites that have none
  std::string device = "cpu";

  auto operator<=>(const SuiteId&) const = default;
};

/// How one such process ended, as its supervisor saw it.
struct SuiteRun {
  SuiteId id;
  judge::Verdict verdict = judge::Verdict::kHarnessFault;
  int exit_code = 0;      // 0 when a signal ended it
  int signal_number = 0;  // 0 when it ended by itself
  double seconds = 0;
  std::int64_t cases = 0;        // that it says it journalled
  std::int64_t comparisons = 0;  // that it says it made
  std::string message;           // why not pass; empty on pass
  std::string rerun;             // command line that runs just this suite
  std::string stderr_tail;       // raw bytes
};

/// A suite or a case that was not run; `name` is empty for a whole suite.
struct Skipped {
  SuiteId id;
  std::string name;
  std::string reason;
};

/// A row of the fault register: a mistake that is known to be made, and the trace name, or its
/// tail, where it shows first.
struct KnownMistake {
  std::string id;  // "F01"
  std::string title;
  std::string suite;   // that must notice it
  std::string locate;  // "indexer.q"
};

/// What the figures were made with. Empty strings are shown as "not recorded".
struct Provenance {
  std::string git_commit;  // empty unless built in a checkout
  std::string compiler;
  std::string build_type;
  std::string build_flags;
  std::string libtorch_version;
  bool faults_compiled_in = false;
  std::string planted_fault;  // id of the fault planted for this run; empty: none
  std::string cpu_model;
  std::int64_t threads = 0;
  std::string weights_sha256;
  std::string config_name;
  std::string config_hash;
  std::string config_json;  // the whole configuration as JSON text
  std::uint64_t seed = 0;
  std::vector<std::string> dtypes;
  std::string recipe;
};

/// Everything that a run found out, from which every report is made. Verdict, exit code and counts
/// are not stored: assessment.h derives them, so that no report can claim what its records don't
/// say.
struct Report {
  std::string tool_version;
  bool complete = false;     // set by the run's last step
  std::string started_utc;   // ISO 8601: "2026-01-31T09:30:00Z"
  std::string finished_utc;  // empty while incomplete
  std::string command_line;
  Provenance provenance;
  std::vector<SuiteId> expected;  // in order of execution; no two equal
  std::vector<SuiteRun> suite_runs;
  std::vector<judge::CaseRecord> cases;
  std::vector<Skipped> skipped;
  std::vector<KnownMistake> known_mistakes;
  std::int64_t resumed_cases = 0;        // of `cases`, taken over from an earlier journal
  std::int64_t error_maps_left_out = 0;  // of comparisons that failed; the journal has them
};

}  // namespace sparity::reports
