#pragma once

#include "suites/cli/compared_dumps.h"
#include "suites/judge/record.h"

#include <cstdint>
#include <string>
#include <vector>

namespace sparity::cli {

/// The choices of keys and experts of one comparison, judged in order of execution. A choice is
/// judged against the truth's scores, in units of the baseline's error. Where the truth's metadata
/// say that it ran free, a choice equal to the truth's own needs no more.
///
/// A pass becomes inconclusive where something else than the candidate's own and judged choices
/// decided what was compared.
class ComparedChoices {
 public:
  ComparedChoices(const CompareOptions& options, const ComparedDumps& dumps)
      : options_(options), dumps_(dumps) {}

  /// Judges a choice that candidate and truth have in one shape. False when truth or baseline did
  /// not run with it, so that nothing after it can be compared.
  bool judge(const std::string& name, judge::CaseRecord& record);

  /// No choice was another one.
  bool followed() const { return diverged_.empty(); }

  /// Settles the record, once all has been compared.
  void finish(judge::CaseRecord& record);

 private:
  bool judge_keys(const std::string& name, judge::CaseRecord& record);
  bool judge_experts(const std::string& name, judge::CaseRecord& record);
  bool leave_open(const std::string& name, const std::string& mend, judge::CaseRecord& record);
  std::string baseline_line() const;
  void count_followed(const Dump& dump);

  const CompareOptions& options_;
  const ComparedDumps& dumps_;
  std::int64_t seen_ = 0;
  std::string diverged_;           // why nothing after a choice could be compared
  std::vector<std::string> open_;  // what no gate decided, and how to mend it
};

}  // namespace sparity::cli
