#include "reports/summary.h"

#include "reports/assessment.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

namespace sparity::reports {

namespace {

using judge::Verdict;

constexpr std::size_t kMostSuites = 6;
constexpr std::size_t kMostMistakes = 2;

std::string painted(std::string_view text, Verdict verdict, bool colour) {
  if (!colour) {
    return std::string(text);
  }
  const char* code = verdict == Verdict::kPass                                        ? "32"
                     : verdict == Verdict::kInconclusive || verdict == Verdict::kSkip ? "33"
                                                                                      : "31";
  return fmt::format("\x1b[1;{}m{}\x1b[0m", code, text);
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char letter) {
    return static_cast<char>(std::toupper(letter));
  });
  return out;
}

std::string field(std::string_view name, std::string_view text, std::size_t longest = 160) {
  return fmt::format("  {:<17} {}\n", name, visible(shortened(text, longest)));
}

std::string leads(const Report& report, const Assessment& result) {
  if (!result.leading_case) {
    return {};
  }
  const judge::CaseRecord& record = report.cases[*result.leading_case];
  std::string out;
  if (!result.first_divergence.empty()) {
    out += field("first divergence",
                 fmt::format("{}  ({} / {}, {})", shortened(result.first_divergence),
                             shortened(record.suite, 40), shortened(record.name, 40),
                             shortened(record.dtype, 20)),
                 300);
  }
  const auto mistakes = mistakes_at(report, record, result.first_divergence);
  for (std::size_t index = 0; index < std::min(mistakes.size(), kMostMistakes); ++index) {
    const std::size_t more = mistakes.size() - kMostMistakes;
    const bool last = index + 1 == kMostMistakes && mistakes.size() > kMostMistakes;
    out += field(index == 0 ? "known mistakes" : "",
                 fmt::format("{} {}{}", mistakes[index]->id, mistakes[index]->title,
                             last ? fmt::format(" (and {} more)", more) : ""));
  }
  // A command that was cut would be worse than a long line.
  return out + field("rerun", record.rerun, 4000);
}

std::string suites_that_did_not_pass(const Assessment& result, bool complete, bool colour) {
  std::string out;
  std::size_t shown = 0;
  std::size_t all = 0;
  for (const SuiteRow& row : result.rows) {
    if (row.verdict == Verdict::kPass || row.verdict == Verdict::kSkip) {
      continue;
    }
    if (++all <= kMostSuites) {
      ++shown;
      const std::string word = row.run != nullptr ? std::string(words(row.verdict))
                               : complete         ? "no outcome"
                                                  : "not reached";
      out += fmt::format("  {} {}  {}\n", painted(fmt::format("{:<13}", word), row.verdict, colour),
                         visible(shortened(label(row.id), 60)), visible(shortened(row.why, 160)));
    }
  }
  return all > shown ? out + fmt::format("  and {} more\n", all - shown) : out;
}

std::string counts_line(const Counts& counts, bool complete) {
  std::string out = fmt::format(
      "  {} expected, {} ran: {} passed, {} failed, {} inconclusive, {} skipped, {} crashed, {} "
      "timed out",
      counted(counts.expected, "suite run"), counts.run, counts.passed, counts.failed,
      counts.inconclusive, counts.skipped, counts.crashed, counts.timed_out);
  const auto add = [&](std::int64_t count, std::string_view name) {
    out += count == 0 ? std::string() : fmt::format(", {} {}", count, name);
  };
  add(counts.out_of_memory, "out of memory");
  add(counts.bad_input, "bad input");
  add(counts.harness_faults, "harness fault");
  add(counts.missing, complete ? "without outcome" : "not reached");
  add(counts.unexpected, "not expected");
  return out + fmt::format("\n  {} made, {} failed; {}, {} skipped\n",
                           counted(counts.comparisons, "comparison"), counts.comparisons_failed,
                           counted(counts.cases, "case"), counts.cases_skipped);
}

}  // namespace

std::string console_summary(const Report& report, bool colour) {
  const Assessment result = assess(report);
  std::string out =
      fmt::format("{}  {}.\n", painted(upper(words(result.verdict)), result.verdict, colour),
                  visible(shortened(without_full_stop(result.why), 300)));
  if (!report.complete) {
    out += field("incomplete", "the run had not finished when this was written");
  }
  if (!report.provenance.planted_fault.empty()) {
    out += field("planted fault", report.provenance.planted_fault);
  }
  return out + leads(report, result) + suites_that_did_not_pass(result, report.complete, colour) +
         counts_line(result.counts, report.complete);
}

}  // namespace sparity::reports
