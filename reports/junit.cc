#include "reports/junit.h"

#include "reports/assessment.h"
#include "reports/text.h"
#include "suites/judge/outcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

namespace sparity::reports {

namespace {

using judge::CaseRecord;
using judge::Verdict;

/// What a <testsuite> holds, counted while it is written.
struct Tally {
  std::int64_t tests = 0;
  std::int64_t failures = 0;
  std::int64_t errors = 0;
  std::int64_t skipped = 0;

  void add(const Tally& other) {
    tests += other.tests;
    failures += other.failures;
    errors += other.errors;
    skipped += other.skipped;
  }
  std::string attributes() const {
    return fmt::format(R"(tests="{}" failures="{}" errors="{}" skipped="{}")", tests, failures,
                       errors, skipped);
  }
};

std::string seconds(double value) {
  return fmt::format("{:.3f}", std::isfinite(value) && value >= 0 ? value : 0.0);
}

std::string property(std::string_view name, std::string_view value) {
  return fmt::format("    <property name=\"{}\" value=\"{}\"/>\n", name,
                     escaped(shortened(value, 4000)));
}

/// The element that says why a case did not pass; nothing for one that did.
std::string verdict_element(Verdict verdict, std::string_view message, std::string_view content,
                            Tally& tally) {
  const std::string attribute = escaped(shortened(message, 4000));
  switch (verdict) {
    case Verdict::kPass:
      return {};
    case Verdict::kSkip:
      ++tally.skipped;
      return fmt::format("      <skipped message=\"{}\"/>\n", attribute);
    case Verdict::kFail:
      ++tally.failures;
      return fmt::format("      <failure type=\"parity\" message=\"{}\">{}</failure>\n", attribute,
                         content);
    default:
      ++tally.errors;
      return fmt::format("      <error type=\"{}\" message=\"{}\">{}</error>\n",
                         judge::to_string(verdict), attribute, content);
  }
}

/// Failing gates, first divergence and rerun, for the body of a <failure>.
std::string explanation(const CaseRecord& record) {
  std::string out = "\n";
  if (const std::string tensor = blamed_tensor(record); !tensor.empty()) {
    out += fmt::format("first divergence: {}\n", escaped(shortened(tensor, 4000)));
  }
  for (const judge::Comparison& comparison : record.comparisons) {
    if (const judge::Gate* gate = comparison.first_failed()) {
      out += escaped(fmt::format("{}: {} is {} and may be {} ({})", shortened(comparison.tensor),
                                 gate->name, number(gate->lhs), number(gate->rhs), gate->note)) +
             "\n";
    }
  }
  return out + fmt::format("rerun: {}\n", escaped(record.rerun));
}

std::string headrooms(const CaseRecord& record) {
  std::string out = "\n";
  for (const judge::Comparison& comparison : record.comparisons) {
    out += fmt::format("{} headroom {}\n", name_html(comparison.tensor),
                       ratio(comparison.worst_headroom()));
  }
  return out;
}

std::string case_xml(const CaseRecord& record, const std::string& class_name, Tally& tally) {
  ++tally.tests;
  std::string name = record.name;
  for (const std::string& part : {record.config, record.recipe}) {
    name += part.empty() ? part : " " + part;
  }
  std::string out = fmt::format("    <testcase classname=\"{}\" name=\"{} seed {}\" time=\"{}\">\n",
                                class_name, escaped(name), record.seed, seconds(record.seconds));
  const Verdict verdict = judge::effective_verdict(record);
  out += verdict_element(verdict,
                         record.message.empty() && verdict != Verdict::kPass
                             ? words(verdict)
                             : std::string_view(record.message),
                         explanation(record), tally);
  if (!record.comparisons.empty()) {
    out += fmt::format("      <system-out>{}</system-out>\n", headrooms(record));
  }
  return out + "    </testcase>\n";
}

/// The suite run itself, when its cases don't tell how it ended.
std::string run_xml(const Report& report, const SuiteRow& row, const std::string& class_name,
                    Tally& tally) {
  const bool told = row.run != nullptr && std::ranges::any_of(row.cases, [&](std::size_t index) {
                      return judge::effective_verdict(report.cases[index]) == row.verdict;
                    });
  if (told) {
    return {};
  }
  ++tally.tests;
  const std::string_view stderr_tail =
      row.run == nullptr ? std::string_view() : std::string_view(row.run->stderr_tail);
  return fmt::format("    <testcase classname=\"{}\" name=\"(suite run)\" time=\"{}\">\n",
                     class_name, seconds(row.run == nullptr ? 0 : row.run->seconds)) +
         verdict_element(row.verdict, row.why, escaped(shortened(stderr_tail, 8000), Lines::kMany),
                         tally) +
         "    </testcase>\n";
}

std::string suite_xml(const Report& report, const SuiteRow& row, Tally& total) {
  const std::string name = escaped(label(row.id));
  std::string class_name = "sparity." + row.id.suite;
  for (const std::string& part : {row.id.dtype, row.id.device}) {
    class_name += part.empty() ? part : "." + part;
  }
  class_name = escaped(class_name);
  Tally tally;
  std::string content = run_xml(report, row, class_name, tally);
  for (const std::size_t index : row.cases) {
    content += case_xml(report.cases[index], class_name, tally);
  }
  for (const Skipped& skipped : report.skipped) {
    if (skipped.id == row.id && !skipped.name.empty()) {
      ++tally.tests;
      content += fmt::format("    <testcase classname=\"{}\" name=\"{}\" time=\"0.000\">\n",
                             class_name, escaped(skipped.name)) +
                 verdict_element(Verdict::kSkip, skipped.reason, {}, tally) + "    </testcase>\n";
    }
  }
  total.add(tally);
  return fmt::format("  <testsuite name=\"{}\" {} time=\"{}\">\n{}  </testsuite>\n", name,
                     tally.attributes(), seconds(row.run == nullptr ? 0 : row.run->seconds),
                     content);
}

std::string properties(const Report& report, const Assessment& assessment) {
  const Provenance& made = report.provenance;
  return "  <testsuite name=\"run\" tests=\"0\" failures=\"0\" errors=\"0\" skipped=\"0\" "
         "time=\"0.000\">\n   <properties>\n" +
         property("verdict", judge::to_string(assessment.verdict)) +
         property("complete", report.complete ? "true" : "false") +
         property("first_divergence", assessment.first_divergence) +
         property("command_line", report.command_line) + property("config", made.config_name) +
         property("config_hash", made.config_hash) +
         property("weights_sha256", made.weights_sha256) + property("git_commit", made.git_commit) +
         property("seed", fmt::format("{}", made.seed)) + "   </properties>\n  </testsuite>\n";
}

}  // namespace

std::string junit_xml(const Report& report) {
  const Assessment assessment = assess(report);
  Tally total;
  std::string suites = properties(report, assessment);
  double time = 0;
  for (const SuiteRow& row : assessment.rows) {
    suites += suite_xml(report, row, total);
    time += row.run == nullptr ? 0 : row.run->seconds;
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuites name=\"sparity\" {} time=\"{}\">\n{}</testsuites>\n",
      total.attributes(), seconds(time), suites);
}

}  // namespace sparity::reports
