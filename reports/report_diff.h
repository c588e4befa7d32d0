#pragma once

#include "reports/report.h"
#include "suites/judge/record.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sparity::reports {

/// A rise of lhs/rhs that is listed: a tenth of what is allowed, or of what it was where that is
/// more. Another compiler, machine or order of threads moves an honest gate by less.
inline constexpr double kListedRise = 0.1;

/// How bad a verdict is, by the order in which exit codes win (docs/cli.md): 0 for pass, then skip,
/// inconclusive, fail, crash with time-out and out of memory, harness fault, bad input.
int badness(judge::Verdict verdict);

/// A verdict that is not the same in both reports, or stands in one of them only.
struct VerdictChange {
  SuiteId suite;
  std::string name;  // case; empty for the suite run itself
  std::optional<judge::Verdict> before;
  std::optional<judge::Verdict> after;
  std::string why;         // of the later verdict, one sentence; empty on pass
  std::int64_t cases = 0;  // of a suite run that stands in one report only

  /// A worse verdict than before, one that is there no more though something was judged (a skip
  /// was not), or a new one that neither passed nor was skipped.
  bool got_worse() const;
};

/// A tensor of a case in both reports that came closer to what is allowed, or went further beyond.
struct HeadroomRise {
  SuiteId suite;
  std::string name;    // case
  std::string tensor;  // of the comparison
  std::string gate;    // the blocking one that is worst now
  double before = 0;   // lhs/rhs of the worst blocking gate; infinite where a side is not finite
  double after = 0;
};

/// A tensor compared in one of the reports only, in a case that both have.
struct TensorChange {
  SuiteId suite;
  std::string name;  // case
  std::string tensor;
  bool is_new = false;  // else gone
};

/// A condition of a suite run in both reports that is new, gone, or exercised in one of them only.
struct ConditionChange {
  SuiteId suite;
  std::string name;
  std::optional<bool> before;  // exercised; none: not recorded there
  std::optional<bool> after;
  std::string detail;  // of the later one
};

/// A skip that is new, gone, or has another reason.
struct SkipChange {
  SuiteId suite;
  std::string name;                   // case; empty for a whole suite
  std::optional<std::string> before;  // reason; none: not skipped there
  std::optional<std::string> after;
};

/// A known mistake that only one of the reports looked for.
struct MistakeChange {
  std::string id;
  std::string title;
  bool is_new = false;
};

/// Something that both reports were made with, and that is not the same.
struct SettingChange {
  enum class Kind {
    kQuestion,  // configuration, weights, dtypes, recipe, seed, planted fault: figures answer
                // different questions
    kBuild,     // what was built, from what, by what
    kMachine,   // processor, threads
  };
  Kind kind = Kind::kQuestion;
  std::string name;
  std::string before;
  std::string after;
};

/// One side, as its records have it.
struct DiffSide {
  std::string source;  // the file
  judge::Verdict verdict = judge::Verdict::kHarnessFault;
  std::string why;
  bool complete = false;
  std::int64_t comparisons = 0;
};

/// What changed from one report to a later one.
struct ReportDiff {
  DiffSide before;
  DiffSide after;
  std::vector<SettingChange> settings;
  std::vector<VerdictChange> suites;  // worse ones first, and worst among them; so are cases
  std::vector<VerdictChange> cases;   // of suite runs that both have
  std::vector<HeadroomRise> rises;    // the listed ones, worst first
  std::int64_t rises_below = 0;       // rose by less
  std::int64_t falls = 0;             // fell by as much
  std::int64_t falls_below = 0;       // fell by less
  std::int64_t tensors_paired = 0;    // compared in both
  std::vector<TensorChange> tensors;
  std::vector<ConditionChange> conditions;
  std::vector<SkipChange> skips;
  std::vector<MistakeChange> mistakes;

  bool verdict_changed() const { return before.verdict != after.verdict; }
  /// The run's verdict, a suite run's or a case's got worse.
  bool got_worse() const;
  /// How many of them did.
  std::int64_t worse_verdicts() const;
  /// Whether both were asked the same question.
  bool comparable() const;
  /// Nothing whatever changed; rises below the floor and falls are changes too, the time taken is
  /// none.
  bool empty() const;
};

/// Pairs suite runs by suite, dtype and device, their cases by name, a case's tensors by name, and
/// what is there twice in order. Nothing is stored: verdicts are those that `assess` derives.
ReportDiff diff_reports(const Report& before, const std::string& before_source, const Report& after,
                        const std::string& after_source);

/// As reports/schema/report-diff-1.0.schema.json describes it, nothing left out.
nlohmann::json to_json(const ReportDiff& diff);

}  // namespace sparity::reports
