#include "reports/assessment.h"

#include "reports/text.h"
#include "suites/judge/outcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <utility>

namespace sparity::reports {

namespace {

using judge::CaseRecord;
using judge::Verdict;

/// A verdict and the sentence that explains it, combined without losing the worse one's sentence.
struct Finding {
  Verdict verdict;
  std::string why;

  void add(Verdict other, const std::string& other_why) {
    const std::array both = {verdict, other};
    const Verdict worse = judge::combine(both);
    if (worse != verdict || (why.empty() && other == verdict)) {
      verdict = worse;
      why = other_why;
    }
  }
};

/// Of a run's comparisons: beyond it a pass would rest on too little.
constexpr double kMostUndecided = 0.02;

SuiteId id_of(const CaseRecord& record) { return {record.suite, record.dtype, record.device}; }

std::string why_of(const CaseRecord& record, Verdict verdict) {
  if (!record.message.empty()) {
    return record.message;
  }
  if (const std::string tensor = blamed_tensor(record); !tensor.empty()) {
    return fmt::format("{}: {} diverges", record.name, tensor);
  }
  return fmt::format("{} {}", record.name, words(verdict));
}

/// The supervisor's word, corrected where the process's own end contradicts it.
Finding outcome_of(const SuiteRun& run) {
  Finding finding{run.verdict, run.message};
  const bool killed = run.verdict == Verdict::kTimeout || run.verdict == Verdict::kOutOfMemory;
  if (run.signal_number != 0 && !killed) {
    finding = {Verdict::kCrash,
               run.verdict == Verdict::kCrash && !run.message.empty()
                   ? run.message
                   : fmt::format("The process was ended by signal {}", run.signal_number)};
  } else if (run.verdict == Verdict::kPass && run.exit_code != 0) {
    finding = {Verdict::kHarnessFault,
               fmt::format("The suite is said to have passed and its process ended with exit code "
                           "{}",
                           run.exit_code)};
  }
  return finding;
}

/// What the records of a run say against what its process claims.
void check_claims(const SuiteRow& row, Finding& finding) {
  const auto recorded = static_cast<std::int64_t>(row.cases.size());
  if (row.run->cases != recorded) {
    finding.add(Verdict::kHarnessFault,
                fmt::format("The suite says it ran {} and {} in the report",
                            counted(row.run->cases, "case"),
                            recorded == 1 ? "1 is" : fmt::format("{} are", recorded)));
  }
  if (row.run->comparisons != row.comparisons) {
    finding.add(
        Verdict::kHarnessFault,
        fmt::format("The suite says it made {} and {} in the report",
                    counted(row.run->comparisons, "comparison"),
                    row.comparisons == 1 ? "1 is" : fmt::format("{} are", row.comparisons)));
  }
  if (finding.verdict == Verdict::kPass && row.comparisons == 0) {
    finding.add(Verdict::kHarnessFault, "The suite compared nothing");
  }
}

void settle(const Report& report, SuiteRow& row) {
  for (const std::size_t index : row.cases) {
    for (const judge::Comparison& comparison : report.cases[index].comparisons) {
      ++row.comparisons;
      const double headroom = comparison.worst_headroom();
      // Whatever is not a number is worse than any number.
      if (!(headroom <= row.worst_headroom)) {
        row.worst_headroom = std::isnan(headroom) ? HUGE_VAL : headroom;
      }
    }
  }
  Finding finding{Verdict::kPass, {}};
  if (row.run != nullptr) {
    finding = outcome_of(*row.run);
  } else if (report.complete) {
    finding = {Verdict::kHarnessFault, "The suite was expected and has no outcome"};
  } else {
    finding = {Verdict::kInconclusive, "The run did not get to the end of this suite"};
  }
  for (const std::size_t index : row.cases) {
    const CaseRecord& record = report.cases[index];
    const Verdict verdict = judge::effective_verdict(record);
    // One skipped case does not make a suite that failed to run.
    if (verdict != Verdict::kSkip) {
      finding.add(verdict, why_of(record, verdict));
    }
  }
  if (row.run != nullptr) {
    check_claims(row, finding);
  }
  row.verdict = finding.verdict;
  row.why = finding.why.empty() && finding.verdict != Verdict::kPass
                ? fmt::format("The suite {}", words(finding.verdict))
                : finding.why;
}

std::vector<SuiteRow> suite_rows(const Report& report) {
  std::vector<SuiteRow> rows;
  std::map<SuiteId, std::size_t> positions;
  const auto row_of = [&](const SuiteId& id) -> SuiteRow& {
    const auto [position, added] = positions.try_emplace(id, rows.size());
    if (added) {
      rows.emplace_back().id = id;
    }
    return rows[position->second];
  };
  for (const SuiteId& id : report.expected) {
    row_of(id).expected = true;
  }
  std::set<SuiteId> twice;
  for (const SuiteRun& run : report.suite_runs) {
    SuiteRow& row = row_of(run.id);
    if (row.run != nullptr) {
      twice.insert(run.id);
    }
    row.run = &run;
  }
  for (std::size_t index = 0; index < report.cases.size(); ++index) {
    row_of(id_of(report.cases[index])).cases.push_back(index);
  }
  for (SuiteRow& row : rows) {
    settle(report, row);
    if (twice.contains(row.id)) {
      row.verdict = Verdict::kHarnessFault;
      row.why = "The report holds two outcomes of this suite";
    }
  }
  return rows;
}

std::int64_t& count_of(Counts& counts, Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return counts.passed;
    case Verdict::kFail:
      return counts.failed;
    case Verdict::kInconclusive:
      return counts.inconclusive;
    case Verdict::kSkip:
      return counts.skipped;
    case Verdict::kCrash:
      return counts.crashed;
    case Verdict::kTimeout:
      return counts.timed_out;
    case Verdict::kOutOfMemory:
      return counts.out_of_memory;
    case Verdict::kBadInput:
      return counts.bad_input;
    case Verdict::kHarnessFault:
      return counts.harness_faults;
  }
  return counts.harness_faults;
}

Counts count(const Report& report, const std::vector<SuiteRow>& rows) {
  Counts counts;
  for (const SuiteRow& row : rows) {
    ++(row.expected ? counts.expected : counts.unexpected);
    counts.comparisons += row.comparisons;
    if (row.run == nullptr) {
      ++counts.missing;
    } else {
      ++counts.run;
      ++count_of(counts, row.verdict);
    }
  }
  for (const CaseRecord& record : report.cases) {
    const Verdict verdict = judge::effective_verdict(record);
    ++counts.cases;
    counts.cases_skipped += verdict == Verdict::kSkip ? 1 : 0;
    counts.cases_not_passed += verdict != Verdict::kSkip && verdict != Verdict::kPass ? 1 : 0;
    counts.comparisons_failed +=
        std::ranges::count_if(record.comparisons, [](const auto& each) { return !each.passed(); });
    counts.comparisons_undecided += std::ranges::count_if(
        record.comparisons, [](const auto& each) { return !each.undecided.empty(); });
  }
  counts.cases_skipped += static_cast<std::int64_t>(report.skipped.size());
  return counts;
}

std::int64_t not_exercised(const Report& report) {
  std::set<std::string> exercised;
  std::set<std::string> all;
  for (const CaseRecord& record : report.cases) {
    for (const judge::Condition& condition : record.conditions) {
      all.insert(condition.name);
      if (condition.exercised) {
        exercised.insert(condition.name);
      }
    }
  }
  return static_cast<std::int64_t>(all.size() - exercised.size());
}

std::string why_passed(const Assessment& result) {
  const auto closest = std::ranges::max_element(result.rows, {}, &SuiteRow::worst_headroom);
  std::string why = fmt::format("{} and {} passed, the closest at {} of its limit ({})",
                                counted(result.counts.passed, "suite run"),
                                counted(result.counts.comparisons, "comparison"),
                                ratio(closest->worst_headroom), label(closest->id));
  if (result.counts.comparisons_undecided > 0) {
    why +=
        fmt::format("; {} undecided", counted(result.counts.comparisons_undecided, "comparison"));
  }
  if (result.conditions_not_exercised > 0) {
    why += fmt::format("; {} not exercised", counted(result.conditions_not_exercised, "condition"));
  }
  return why;
}

std::string why_undecided(const Assessment& result) {
  return fmt::format("{} of {} could not be decided: {}", result.counts.comparisons_undecided,
                     counted(result.counts.comparisons, "comparison"),
                     "honest arithmetic in this dtype is too far from the truth to judge by");
}

std::string why_not(const Report& report, const Assessment& result) {
  for (const SuiteRow& row : result.rows) {
    if (row.verdict == result.verdict && !row.why.empty()) {
      const bool failures_behind = result.counts.failed > 0 && row.verdict != Verdict::kFail;
      return fmt::format("{}: {}{}", label(row.id), without_full_stop(row.why),
                         failures_behind ? fmt::format("; besides, {} failed",
                                                       counted(result.counts.failed, "suite run"))
                                         : "");
    }
  }
  if (!report.complete) {
    return "The run did not finish";
  }
  if (result.verdict == Verdict::kInconclusive) {
    return why_undecided(result);
  }
  return result.rows.empty() ? "Nothing was expected and nothing was run"
                             : "Every suite was skipped";
}

void find_leading_case(const Report& report, Assessment& result) {
  for (const std::size_t index : result.not_passed) {
    std::string tensor = blamed_tensor(report.cases[index]);
    if (!tensor.empty()) {
      result.leading_case = index;
      result.first_divergence = std::move(tensor);
      return;
    }
  }
  if (!result.not_passed.empty()) {
    result.leading_case = result.not_passed.front();
  }
}

}  // namespace

Assessment assess(const Report& report) {
  Assessment result;
  result.rows = suite_rows(report);
  result.counts = count(report, result.rows);
  std::vector<Verdict> verdicts;
  for (const SuiteRow& row : result.rows) {
    verdicts.push_back(row.verdict);
    std::ranges::copy_if(row.cases, std::back_inserter(result.not_passed), [&](std::size_t index) {
      const Verdict verdict = judge::effective_verdict(report.cases[index]);
      return verdict != Verdict::kPass && verdict != Verdict::kSkip;
    });
  }
  if (!report.complete) {
    verdicts.push_back(Verdict::kInconclusive);
  }
  result.verdict = judge::combine(verdicts);
  const bool too_little_decided = kMostUndecided * static_cast<double>(result.counts.comparisons) <
                                  static_cast<double>(result.counts.comparisons_undecided);
  if (result.verdict == Verdict::kPass && too_little_decided) {
    result.verdict = Verdict::kInconclusive;
  }
  result.exit_code = judge::exit_code(result.verdict);
  result.conditions_not_exercised = not_exercised(report);
  find_leading_case(report, result);
  result.why = result.verdict == Verdict::kPass ? why_passed(result) : why_not(report, result);
  return result;
}

std::string blamed_tensor(const CaseRecord& record) {
  if (!record.first_divergence.empty()) {
    return record.first_divergence;
  }
  const auto failed =
      std::ranges::find_if(record.comparisons, [](const auto& each) { return !each.passed(); });
  return failed == record.comparisons.end() ? std::string() : failed->tensor;
}

std::vector<const KnownMistake*> mistakes_at(const Report& report, const CaseRecord& record,
                                             const std::string& tensor) {
  // A mistake on the way back leaves the values alone, and one in a value is looked for there.
  const bool is_gradient = tensor.starts_with("grad.") || tensor.starts_with("trace.grad.");
  std::vector<const KnownMistake*> found;
  for (const KnownMistake& mistake : report.known_mistakes) {
    if (!mistake.locate.empty() && is_gradient == (mistake.suite == "gradients") &&
        (tensor == mistake.locate || tensor.ends_with("." + mistake.locate))) {
      found.push_back(&mistake);
    }
  }
  std::ranges::stable_partition(
      found, [&](const KnownMistake* mistake) { return mistake->suite == record.suite; });
  return found;
}

std::string label(const SuiteId& id) {
  std::string text = id.suite;
  for (const std::string& part : {id.dtype, id.device == "cpu" ? std::string() : id.device}) {
    text += part.empty() ? std::string() : " · " + part;
  }
  return text;
}

std::string_view words(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return "passed";
    case Verdict::kFail:
      return "failed";
    case Verdict::kInconclusive:
      return "inconclusive";
    case Verdict::kSkip:
      return "skipped";
    case Verdict::kCrash:
      return "crashed";
    case Verdict::kTimeout:
      return "timed out";
    case Verdict::kOutOfMemory:
      return "out of memory";
    case Verdict::kBadInput:
      return "bad input";
    case Verdict::kHarnessFault:
      return "harness fault";
  }
  return "harness fault";
}

}  // namespace sparity::reports
