#include "suites/cli/check_run.h"
#include "suites/cli/command.h"
#include "suites/cli/suite_program.h"
#include "suites/runner/suite_names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace sparity::cli {

namespace {

void check_suite_names(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    SPARITY_CHECK_INPUT(std::ranges::find(runner::kSuiteNames, name) != runner::kSuiteNames.end(),
                        fmt::format("SUITE: expected one of {}, found '{}'",
                                    fmt::join(runner::kSuiteNames, ", "), name));
  }
}

core::ExitCode list() {
  for (const std::string_view name : runner::kSuiteNames) {
    fmt::print("{}\n", name);
  }
  return core::ExitCode::kPass;
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  const auto options = std::make_shared<CheckOptions>();
  const auto only_list = std::make_shared<bool>(false);
  CLI::App& command = *app.add_subcommand(
      "check",
      "Judge the implementation suite by suite, and write report.json, index.html, junit.xml");
  command.add_option("SUITE", options->suites, "Suites to run (default: all, see --list)");
  add_source_options(command, options->source);
  command
      .add_option("--dtype", options->dtypes, "Activation dtypes (default: float32 and bfloat16)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float64"}))
      ->allow_extra_args(false);
  add_recipe_option(command, options->recipe);
  command.add_option("--device", options->device, "Where the candidate runs")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  command.add_option("--filter", options->filter, "Only cases whose name this glob matches")
      ->type_name("GLOB");
  command
      .add_option("--fault", options->fault, "Plant this fault first (F01, …): the run must fail")
      ->type_name("ID");
  command.add_option("--out", options->out, "Folder of the report")
      ->check(not_empty())
      ->capture_default_str();
  command.add_flag("--resume", options->resume,
                   "Go on from the journal of an earlier run in --out");
  command
      .add_option("--jobs", options->jobs,
                  "Suites that run at a time (default: one for each core, as far as memory goes)")
      ->check(CLI::Range(1, 256));
  command.add_option("--timeout", options->timeout_seconds, "Seconds that one suite may take")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command.add_flag("--json", options->json, "Print verdict, counts and paths as JSON");
  command.add_flag("--list", *only_list, "Print the suites and stop");
  command.footer(example("sparity check --model DIR --inputs in.safetensors --out report") +
                 "\n  sparity check norm rope --dtype float32");
  command.callback([options, only_list, &action] {
    action = [options, only_list] {
      check_suite_names(options->suites);
      return *only_list ? list() : run_check(*options);
    };
  });
}

}  // namespace sparity::cli
