#include "reports/report_diff.h"

#include "reports/assessment.h"
#include "reports/diff_pairs.h"
#include "reports/text.h"
#include "suites/judge/outcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

namespace sparity::reports {

namespace {

using judge::CaseRecord;
using judge::Comparison;
using judge::Verdict;

SuiteId id_of(const CaseRecord& record) { return {record.suite, record.dtype, record.device}; }

/// Worse ones first, the worst of them first of all; else as they come.
void sort_changes(std::vector<VerdictChange>& changes) {
  const auto weight = [](const VerdictChange& change) {
    return std::pair(change.got_worse(), change.after ? badness(*change.after) : 0);
  };
  std::ranges::stable_sort(changes, std::greater(), weight);
}

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) {
    out += (out.empty() ? "" : ", ") + part;
  }
  return out;
}

/// Every setting of a report, by kind and name, in an order that both have.
std::vector<std::tuple<SettingChange::Kind, std::string, std::string>> settings_of(
    const Report& report) {
  using Kind = SettingChange::Kind;
  const Provenance& made = report.provenance;
  return {
      {Kind::kQuestion, "configuration", made.config_name},
      {Kind::kQuestion, "configuration hash", made.config_hash},
      {Kind::kQuestion, "weights SHA-256", made.weights_sha256},
      {Kind::kQuestion, "dtypes", joined(made.dtypes)},
      {Kind::kQuestion, "recipe", made.recipe},
      {Kind::kQuestion, "seed", fmt::format("{}", made.seed)},
      {Kind::kQuestion, "planted fault", made.planted_fault},
      {Kind::kQuestion, "finished", report.complete ? "yes" : "no"},
      {Kind::kBuild, "Sparity", report.tool_version},
      {Kind::kBuild, "git commit", made.git_commit},
      {Kind::kBuild, "compiler", made.compiler},
      {Kind::kBuild, "build", made.build_type},
      {Kind::kBuild, "flags", made.build_flags},
      {Kind::kBuild, "LibTorch", made.libtorch_version},
      {Kind::kBuild, "faults compiled in", made.faults_compiled_in ? "yes" : "no"},
      {Kind::kMachine, "CPU", made.cpu_model},
      {Kind::kMachine, "threads", fmt::format("{}", made.threads)},
  };
}

void diff_settings(const Report& before, const Report& after, ReportDiff& diff) {
  const auto old_settings = settings_of(before);
  const auto new_settings = settings_of(after);
  for (std::size_t index = 0; index < old_settings.size(); ++index) {
    const auto& [kind, name, old_value] = old_settings[index];
    const std::string& new_value = std::get<2>(new_settings[index]);
    if (old_value != new_value) {
      diff.settings.push_back({kind, name, old_value, new_value});
    }
  }
}

/// What a case says of itself that the provenance may not: reports of `compare` record it there.
std::string setting_of(const CaseRecord& record) {
  return fmt::format("{} {} {} seed {}", record.config, record.config_hash.substr(0, 12),
                     record.recipe, record.seed);
}

class CaseDiffer {
 public:
  explicit CaseDiffer(ReportDiff& diff) : diff_(diff) {}

  void add(const CaseRecord* before, const CaseRecord* after) {
    add_verdicts(before, after);
    if (before != nullptr && after != nullptr) {
      add_tensors(*before, *after);
      if (setting_of(*before) != setting_of(*after) && unlike_cases_++ == 0) {
        before_setting_ = setting_of(*before);
        after_setting_ = setting_of(*after);
      }
    }
  }

  /// Says that cases were made otherwise, unless the provenance said it.
  void finish() {
    if (unlike_cases_ > 0 && diff_.comparable()) {
      diff_.settings.push_back({SettingChange::Kind::kQuestion,
                                fmt::format("made with, in {}", counted(unlike_cases_, "case")),
                                before_setting_, after_setting_});
    }
    std::ranges::stable_sort(diff_.rises, [](const HeadroomRise& a, const HeadroomRise& b) {
      return a.after > b.after || (a.after == b.after && a.before < b.before);
    });
  }

 private:
  void add_verdicts(const CaseRecord* before, const CaseRecord* after) {
    VerdictChange change;
    const CaseRecord& there = after != nullptr ? *after : *before;
    change.suite = id_of(there);
    change.name = there.name;
    change.before = before == nullptr ? std::nullopt : std::optional(effective_verdict(*before));
    change.after = after == nullptr ? std::nullopt : std::optional(effective_verdict(*after));
    if (change.before != change.after) {
      change.why = change.after == Verdict::kPass ? std::string() : there.message;
      diff_.cases.push_back(std::move(change));
    }
  }

  void add_tensors(const CaseRecord& before, const CaseRecord& after) {
    for (const auto& [old_one, new_one] :
         pair_up(before.comparisons, after.comparisons,
                 [](const Comparison& comparison) { return comparison.tensor; })) {
      if (old_one != nullptr && new_one != nullptr) {
        add_headrooms(after, *old_one, *new_one);
      } else {
        const Comparison& there = new_one != nullptr ? *new_one : *old_one;
        diff_.tensors.push_back({id_of(after), after.name, there.tensor, old_one == nullptr});
      }
    }
  }

  void add_headrooms(const CaseRecord& record, const Comparison& before, const Comparison& after) {
    ++diff_.tensors_paired;
    const double was = before.worst_headroom();
    const double is = after.worst_headroom();
    const double floor = kListedRise * std::max(1.0, std::min(was, is));
    // What is infinite on both sides differs by NaN, which is no rise.
    if (is - was >= floor) {
      diff_.rises.push_back({id_of(record), record.name, after.tensor, worst_gate(after), was, is});
    } else if (is > was) {
      ++diff_.rises_below;
    } else if (was - is >= floor) {
      ++diff_.falls;
    } else if (is < was) {
      ++diff_.falls_below;
    }
  }

  static std::string worst_gate(const Comparison& comparison) {
    const judge::Gate* worst = nullptr;
    for (const judge::Gate& gate : comparison.gates) {
      if (gate.blocking && (worst == nullptr || gate.headroom() > worst->headroom())) {
        worst = &gate;
      }
    }
    return worst == nullptr ? std::string() : worst->name;
  }

  ReportDiff& diff_;
  std::int64_t unlike_cases_ = 0;
  std::string before_setting_;
  std::string after_setting_;
};

/// A suite run's condition, exercised when any of its cases says so.
struct RunCondition {
  std::string name;
  bool exercised = false;
  std::string detail;
};

std::vector<RunCondition> conditions_of(const Report& report, const SuiteRow& row) {
  std::vector<RunCondition> conditions;
  for (const std::size_t index : row.cases) {
    for (const judge::Condition& condition : report.cases[index].conditions) {
      const auto known = std::ranges::find(conditions, condition.name, &RunCondition::name);
      if (known == conditions.end()) {
        conditions.push_back({condition.name, condition.exercised, condition.detail});
      } else if (condition.exercised && !known->exercised) {
        *known = {condition.name, true, condition.detail};
      }
    }
  }
  return conditions;
}

void diff_conditions(const std::vector<RunCondition>& before,
                     const std::vector<RunCondition>& after, const SuiteId& suite,
                     ReportDiff& diff) {
  for (const auto& [old_one, new_one] :
       pair_up(before, after, [](const RunCondition& condition) { return condition.name; })) {
    const RunCondition& there = new_one != nullptr ? *new_one : *old_one;
    ConditionChange change{suite, there.name, {}, {}, there.detail};
    change.before = old_one == nullptr ? std::nullopt : std::optional(old_one->exercised);
    change.after = new_one == nullptr ? std::nullopt : std::optional(new_one->exercised);
    if (change.before != change.after) {
      diff.conditions.push_back(std::move(change));
    }
  }
}

std::vector<Skipped> skips_of(const Report& report) {
  std::vector<Skipped> skips = report.skipped;
  for (const CaseRecord& record : report.cases) {
    if (judge::effective_verdict(record) == Verdict::kSkip) {
      skips.push_back({id_of(record), record.name, record.message});
    }
  }
  return skips;
}

void diff_skips(const Report& before, const Report& after, ReportDiff& diff) {
  const std::vector<Skipped> old_skips = skips_of(before);
  const std::vector<Skipped> new_skips = skips_of(after);
  for (const auto& [old_one, new_one] : pair_up(old_skips, new_skips, [](const Skipped& skip) {
         return std::pair(skip.id, skip.name);
       })) {
    const Skipped& there = new_one != nullptr ? *new_one : *old_one;
    SkipChange change{there.id, there.name, {}, {}};
    change.before = old_one == nullptr ? std::nullopt : std::optional(old_one->reason);
    change.after = new_one == nullptr ? std::nullopt : std::optional(new_one->reason);
    if (change.before != change.after) {
      diff.skips.push_back(std::move(change));
    }
  }
}

void diff_mistakes(const Report& before, const Report& after, ReportDiff& diff) {
  for (const auto& [old_one, new_one] :
       pair_up(before.known_mistakes, after.known_mistakes,
               [](const KnownMistake& mistake) { return mistake.id; })) {
    if (old_one == nullptr || new_one == nullptr) {
      const KnownMistake& there = new_one != nullptr ? *new_one : *old_one;
      diff.mistakes.push_back({there.id, there.title, old_one == nullptr});
    }
  }
}

std::vector<CaseRecord const*> records_of(const Report& report, const SuiteRow& row) {
  std::vector<CaseRecord const*> records;
  for (const std::size_t index : row.cases) {
    records.push_back(&report.cases[index]);
  }
  return records;
}

/// A side of the whole diff: a report and what it amounts to.
struct Side {
  const Report& report;
  const Assessment& assessment;
};

void diff_suites(const Side& before, const Side& after, ReportDiff& diff) {
  CaseDiffer cases(diff);
  for (const auto& [old_row, new_row] : pair_up(before.assessment.rows, after.assessment.rows,
                                                [](const SuiteRow& row) { return row.id; })) {
    const SuiteRow& there = new_row != nullptr ? *new_row : *old_row;
    VerdictChange change{there.id, {}, {}, {}, {}, 0};
    change.before = old_row == nullptr ? std::nullopt : std::optional(old_row->verdict);
    change.after = new_row == nullptr ? std::nullopt : std::optional(new_row->verdict);
    const bool in_both = old_row != nullptr && new_row != nullptr;
    if (change.before != change.after) {
      change.why = there.verdict == Verdict::kPass ? std::string() : there.why;
      change.cases = in_both ? 0 : static_cast<std::int64_t>(there.cases.size());
      diff.suites.push_back(std::move(change));
    }
    if (in_both) {
      const auto old_records = records_of(before.report, *old_row);
      const auto new_records = records_of(after.report, *new_row);
      for (const auto& [old_one, new_one] : pair_up(
               old_records, new_records, [](const CaseRecord* record) { return record->name; })) {
        cases.add(old_one == nullptr ? nullptr : *old_one, new_one == nullptr ? nullptr : *new_one);
      }
      diff_conditions(conditions_of(before.report, *old_row), conditions_of(after.report, *new_row),
                      there.id, diff);
    }
  }
  cases.finish();
}

DiffSide side_of(const Side& side, const std::string& source) {
  return {source, side.assessment.verdict, side.assessment.why, side.report.complete,
          side.assessment.counts.comparisons};
}

}  // namespace

int badness(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return 0;
    case Verdict::kSkip:
      return 1;
    case Verdict::kInconclusive:
      return 2;
    case Verdict::kFail:
      return 3;
    case Verdict::kCrash:
    case Verdict::kTimeout:
    case Verdict::kOutOfMemory:
      return 4;
    case Verdict::kHarnessFault:
      return 5;
    case Verdict::kBadInput:
      return 6;
  }
  return 6;
}

bool VerdictChange::got_worse() const {
  if (!after) {
    return before && *before != Verdict::kSkip;
  }
  return badness(*after) > (before ? badness(*before) : badness(Verdict::kSkip));
}

std::int64_t ReportDiff::worse_verdicts() const {
  return (badness(after.verdict) > badness(before.verdict) ? 1 : 0) +
         std::ranges::count_if(suites, &VerdictChange::got_worse) +
         std::ranges::count_if(cases, &VerdictChange::got_worse);
}

bool ReportDiff::got_worse() const { return worse_verdicts() > 0; }

bool ReportDiff::comparable() const {
  return std::ranges::none_of(settings, [](const SettingChange& setting) {
    return setting.kind == SettingChange::Kind::kQuestion;
  });
}

bool ReportDiff::empty() const {
  return !verdict_changed() && settings.empty() && suites.empty() && cases.empty() &&
         rises.empty() && rises_below == 0 && falls == 0 && falls_below == 0 && tensors.empty() &&
         conditions.empty() && skips.empty() && mistakes.empty();
}

ReportDiff diff_reports(const Report& before, const std::string& before_source, const Report& after,
                        const std::string& after_source) {
  const Assessment old_result = assess(before);
  const Assessment new_result = assess(after);
  const Side old_side{before, old_result};
  const Side new_side{after, new_result};
  ReportDiff diff;
  diff.before = side_of(old_side, before_source);
  diff.after = side_of(new_side, after_source);
  diff_settings(before, after, diff);
  diff_suites(old_side, new_side, diff);
  diff_skips(before, after, diff);
  diff_mistakes(before, after, diff);
  sort_changes(diff.suites);
  sort_changes(diff.cases);
  return diff;
}

}  // namespace sparity::reports
