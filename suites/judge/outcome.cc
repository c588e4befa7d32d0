#include "suites/judge/outcome.h"

#include "suites/judge/divergence.h"
#include "suites/judge/gates.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace sparity::judge {

namespace {

const Gate* first_broken_harness_gate(const Comparison& comparison) {
  const auto found = std::ranges::find_if(
      comparison.gates, [](const Gate& gate) { return is_harness_gate(gate) && !gate.ok; });
  return found == comparison.gates.end() ? nullptr : &*found;
}

std::string describe(const Comparison& comparison, const Gate& gate) {
  return fmt::format("{}: {} failed: {:.4g} > {:.4g} ({})", comparison.tensor, gate.name, gate.lhs,
                     gate.rhs, gate.note);
}

/// A verdict and the sentence that goes with it.
struct Judged {
  Verdict verdict = Verdict::kPass;
  std::string message;
};

/// What shows that the harness itself was in no state to judge.
Judged judge_harness(const CaseRecord& record) {
  for (const Comparison& comparison : record.comparisons) {
    if (const Gate* gate = first_broken_harness_gate(comparison)) {
      return {Verdict::kHarnessFault, describe(comparison, *gate)};
    }
    if (comparison.gates.empty()) {
      return {Verdict::kHarnessFault, comparison.tensor + ": no gate was applied"};
    }
  }
  if (record.comparisons.empty()) {
    return {Verdict::kHarnessFault, "nothing was compared"};
  }
  for (const Condition& condition : record.conditions) {
    if (condition.required && !condition.exercised) {
      return {Verdict::kHarnessFault,
              fmt::format("not exercised: {} ({})", condition.name, condition.detail)};
    }
  }
  return {};
}

Judged judge_candidate(const CaseRecord& record) {
  for (const Comparison& comparison : record.comparisons) {
    if (!comparison.passed()) {
      return {Verdict::kFail, describe(comparison, *comparison.first_failed())};
    }
  }
  for (const TracePoint& point : record.trace) {
    if (point.divergence == DivergenceClass::kBug ||
        point.divergence == DivergenceClass::kUnexplained) {
      return {Verdict::kFail,
              fmt::format("{}: {}, local headroom {:.4g}, free-run error {:.4g}, predicted {:.4g}",
                          point.tensor, to_string(point.divergence), point.local_headroom,
                          point.free_error, point.predicted_error)};
    }
  }
  return {};
}

/// Passed, and yet nothing was decided.
Judged judge_decided(const CaseRecord& record) {
  const bool none_decides = std::ranges::all_of(
      record.comparisons, [](const Comparison& each) { return !each.undecided.empty(); });
  return none_decides ? Judged{Verdict::kInconclusive,
                               fmt::format("{}: {}", record.comparisons.front().tensor,
                                           record.comparisons.front().undecided)}
                      : Judged{};
}

Judged judge(const CaseRecord& record) {
  Judged judged = judge_harness(record);
  if (judged.verdict == Verdict::kPass) {
    judged = judge_candidate(record);
  }
  return judged.verdict == Verdict::kPass ? judge_decided(record) : judged;
}

SuiteOutcome suite_outcome(const std::string& suite, std::span<const CaseRecord> records) {
  SuiteOutcome outcome{.suite = suite, .message = "no record of this suite: it was lost"};
  std::vector<Verdict> verdicts;
  for (const CaseRecord& record : records) {
    if (record.suite == suite) {
      verdicts.push_back(effective_verdict(record));
      outcome.comparisons += static_cast<std::int64_t>(record.comparisons.size());
    }
  }
  outcome.cases = static_cast<std::int64_t>(verdicts.size());
  if (verdicts.empty()) {
    return outcome;
  }
  outcome.verdict = combine(verdicts);
  outcome.message.clear();
  if (outcome.verdict != Verdict::kPass) {
    const auto cause = std::ranges::find_if(records, [&](const CaseRecord& record) {
      return record.suite == suite && effective_verdict(record) == outcome.verdict;
    });
    outcome.message = fmt::format("{}: {}", cause->name, cause->message);
  }
  return outcome;
}

}  // namespace

core::ExitCode exit_code(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return core::ExitCode::kPass;
    case Verdict::kFail:
      return core::ExitCode::kParityFailed;
    case Verdict::kInconclusive:
      return core::ExitCode::kInconclusive;
    case Verdict::kSkip:
      return core::ExitCode::kAllSkipped;
    case Verdict::kCrash:
    case Verdict::kTimeout:
    case Verdict::kOutOfMemory:
      return core::ExitCode::kCrashed;
    case Verdict::kBadInput:
      return core::ExitCode::kBadInput;
    case Verdict::kHarnessFault:
      return core::ExitCode::kHarnessFault;
  }
  return core::ExitCode::kHarnessFault;
}

Verdict judged_verdict(const CaseRecord& record) { return judge(record).verdict; }

void settle(CaseRecord& record) {
  Judged judged = judge(record);
  record.verdict = judged.verdict;
  record.message = std::move(judged.message);
  if (record.first_divergence.empty()) {
    record.first_divergence = first_divergence(record.trace);
  }
}

Verdict effective_verdict(const CaseRecord& record) {
  return record.verdict == Verdict::kPass ? judged_verdict(record) : record.verdict;
}

Verdict combine(std::span<const Verdict> verdicts) {
  static constexpr Verdict kBySeverity[] = {
      Verdict::kBadInput,     Verdict::kHarnessFault, Verdict::kCrash,
      Verdict::kTimeout,      Verdict::kOutOfMemory,  Verdict::kFail,
      Verdict::kInconclusive, Verdict::kPass,         Verdict::kSkip,
  };
  const auto* found = std::ranges::find_if(kBySeverity, [&](Verdict verdict) {
    return std::ranges::find(verdicts, verdict) != verdicts.end();
  });
  return found == std::end(kBySeverity) ? Verdict::kHarnessFault : *found;
}

RunOutcome judge_run(std::span<const CaseRecord> records,
                     std::span<const std::string> expected_suites) {
  std::vector<std::string> names(expected_suites.begin(), expected_suites.end());
  for (const CaseRecord& record : records) {
    if (std::ranges::find(names, record.suite) == names.end()) {
      names.push_back(record.suite);
    }
  }
  RunOutcome run;
  std::vector<Verdict> verdicts;
  for (const std::string& name : names) {
    run.suites.push_back(suite_outcome(name, records));
    const SuiteOutcome& outcome = run.suites.back();
    verdicts.push_back(outcome.verdict);
    run.comparisons += outcome.comparisons;
    if (outcome.cases == 0) {
      run.missing.push_back(name);
    }
  }
  run.verdict = combine(verdicts);
  if (run.verdict == Verdict::kPass && run.comparisons == 0) {
    run.verdict = Verdict::kHarnessFault;
  }
  run.exit_code = exit_code(run.verdict);
  return run;
}

}  // namespace sparity::judge
