#include "reports/assessment.h"
#include "reports/error_maps.h"
#include "reports/render.h"
#include "reports/report_json.h"
#include "reports/summary.h"
#include "src/core/error.h"
#include "suites/cli/command.h"
#include "suites/cli/compare_dumps.h"
#include "suites/cli/overwriting.h"
#include "suites/cli/provenance.h"
#include "suites/judge/outcome.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace sparity::cli {

namespace {

reports::Report report_of(judge::CaseRecord record) {
  reports::Report report;
  fill_build(report);
  report.finished_utc = utc_now();
  report.complete = true;
  const reports::SuiteId id{record.suite, record.dtype, record.device};
  report.expected = {id};
  reports::SuiteRun run;
  run.id = id;
  run.verdict = record.verdict;
  run.exit_code = static_cast<int>(judge::exit_code(record.verdict));
  run.cases = 1;
  run.comparisons = static_cast<std::int64_t>(record.comparisons.size());
  run.message = record.message;
  report.suite_runs = {run};
  report.provenance.recipe = record.recipe;
  report.provenance.dtypes = {record.dtype};
  report.cases = {std::move(record)};
  return report;
}

void check_out(const CompareOptions& options) {
  if (options.out.empty()) {
    return;
  }
  SPARITY_CHECK_INPUT(
      !std::filesystem::exists(options.out) || std::filesystem::is_directory(options.out),
      fmt::format("--out: expected a folder, found {}", options.out));
  refuse_overwriting_by_report(options.out, {{"CANDIDATE", options.candidate},
                                             {"--truth", options.truth},
                                             {"--baseline", options.baseline},
                                             {"--inputs", options.inputs},
                                             {"--model", options.model}});
}

/// What the verdict leaves open, on stderr.
void print_not_exercised(const reports::Report& report) {
  constexpr std::size_t kShown = 20;
  std::vector<std::string> lines;
  for (const judge::Condition& condition : report.cases.at(0).conditions) {
    if (!condition.exercised) {
      lines.push_back(fmt::format("{}: {}", condition.name, condition.detail));
    }
  }
  for (std::size_t i = 0; i < std::min(lines.size(), kShown); ++i) {
    fmt::print(stderr, "sparity: not exercised: {}\n", lines[i]);
  }
  if (lines.size() > kShown) {
    fmt::print(stderr, "sparity: not exercised: {} more, listed in the report (--out, --json)\n",
               lines.size() - kShown);
  }
}

core::ExitCode run(const CompareOptions& options) {
  check_out(options);
  const reports::Report report = reports::with_few_error_maps(report_of(compare_dumps(options)));
  const reports::Assessment assessment = reports::assess(report);
  if (options.baseline.empty()) {
    fmt::print(stderr,
               "sparity: no --baseline: judged by the weaker a-priori rule (docs/numerics.md), "
               "which cannot see an error that is small against the dtype's rounding\n");
  }
  print_not_exercised(report);
  if (options.json) {
    fmt::print("{}\n", reports::to_json(report).dump(2));
  } else {
    const bool colour = isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
    fmt::print("{}", reports::console_summary(report, colour));
  }
  if (!options.out.empty()) {
    std::error_code failure;
    std::filesystem::create_directories(options.out, failure);
    SPARITY_CHECK_INPUT(!failure,
                        fmt::format("--out: cannot create {}: {}", options.out, failure.message()));
    fmt::print(stderr, "report: {}\n", reports::write_all(report, options.out).html.string());
  }
  return assessment.exit_code;
}

}  // namespace

void add_compare(CLI::App& app, Action& action) {
  const auto options = std::make_shared<CompareOptions>();
  CLI::App& command = *app.add_subcommand(
      "compare",
      "Judge a dump made anywhere, under the names of docs/naming.md, by the same gates");
  command.add_option("CANDIDATE", options->candidate, "The dump to judge")
      ->required()
      ->check(not_empty());
  command
      .add_option("--truth", options->truth,
                  "`sparity run --impl reference --dtype float64` of the same weights and inputs")
      ->required()
      ->check(not_empty())
      ->type_name("FILE");
  command
      .add_option(
          "--baseline", options->baseline,
          "The same with the candidate's --dtype and --recipe; without it a weaker rule judges")
      ->check(not_empty())
      ->type_name("FILE");
  command
      .add_option("--inputs", options->inputs,
                  "The inputs file: rows of padded tokens are left out")
      ->check(not_empty())
      ->type_name("FILE");
  command
      .add_option("--model", options->model,
                  "The checkpoint: without its router biases no choice of experts is judged")
      ->check(not_empty())
      ->type_name("DIR");
  command
      .add_option_function<std::string>(
          "--dtype",
          [options](const std::string& word) { options->dtype = core::dtype_from_string(word); },
          "The candidate's activation dtype, where its metadata do not say")
      ->check(CLI::IsMember({"float32", "bfloat16", "float64"}));
  command.add_flag("--trust-baseline", options->trust_baseline,
                   "Take a truth and a baseline that don't say that the reference made them, by "
                   "itself, at their word; the report says so");
  command.add_flag("--partial", options->partial,
                   "Names that only the truth has are listed instead of failing");
  command.add_option("--out", options->out, "Also write a report into this folder")
      ->check(not_empty())
      ->type_name("DIR");
  command.add_flag("--json", options->json, "Print the report as JSON");
  command.footer(
      example("sparity compare theirs.safetensors --truth truth.safetensors --baseline "
              "baseline.safetensors"));
  command.callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace sparity::cli
