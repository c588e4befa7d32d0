#include "reports/assessment.h"
#include "reports/performance_json.h"
#include "reports/render.h"
#include "reports/report_diff.h"
#include "reports/report_diff_pages.h"
#include "reports/report_json.h"
#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/strict_json.h"
#include "suites/cli/command.h"
#include "suites/cli/overwriting.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sparity::cli {

namespace {

namespace fs = std::filesystem;

bool holds_performance(const std::string& path) {
  return reports::is_performance(core::read_json(path, reports::kReportLimits));
}

/// A page beside the first of `files` must not take the place of any of them.
void keep_files(const std::vector<std::string>& files, const std::string& page) {
  const std::filesystem::path folder = std::filesystem::absolute(files.front()).parent_path();
  for (const std::string& file : files) {
    refuse_overwriting(folder / page, {{"FILE", file}});
  }
}

core::ExitCode render(const std::vector<std::string>& files) {
  if (holds_performance(files.front())) {
    keep_files(files, "performance.html");
    fmt::print("{}\n", reports::render_performance({files.begin(), files.end()}).string());
    return core::ExitCode::kPass;
  }
  SPARITY_CHECK_INPUT(files.size() == 1,
                      fmt::format("{}: expected performance figures, as other files beside it are "
                                  "given, found none",
                                  files.front()));
  keep_files(files, "index.html");
  keep_files(files, "junit.xml");
  const reports::Rendered rendered = reports::render(files.front());
  fmt::print("{}\n{}\n", rendered.html.string(), rendered.junit.string());
  return core::ExitCode::kPass;
}

/// Where a report is: the file, or `report.json` in the folder.
fs::path report_in(const fs::path& given) {
  return fs::is_directory(given) ? given / "report.json" : given;
}

struct DiffOptions {
  std::string before;
  std::string after;
  std::string out;       // HTML
  std::string markdown;  // Markdown
  bool json = false;
};

void check_outputs(const DiffOptions& options, const fs::path& before, const fs::path& after) {
  for (const auto& [flag, file] :
       {std::pair{"--out", options.out}, std::pair{"--markdown", options.markdown}}) {
    if (!file.empty()) {
      SPARITY_CHECK_INPUT(!fs::is_directory(file),
                          fmt::format("{}: expected a file, found the folder {}", flag, file));
      refuse_overwriting(file, {{"A", before}, {"B", after}});
    }
  }
  const bool both = !options.out.empty() && !options.markdown.empty();
  SPARITY_CHECK_INPUT(
      !both || fs::absolute(options.out).lexically_normal() !=
                   fs::absolute(options.markdown).lexically_normal(),
      fmt::format("--markdown: expected another file than --out, found {}", options.markdown));
}

core::ExitCode diff(const DiffOptions& options) {
  const fs::path before = report_in(options.before);
  const fs::path after = report_in(options.after);
  check_outputs(options, before, after);
  const reports::ReportDiff diff = reports::diff_reports(
      reports::read_report(before), before.string(), reports::read_report(after), after.string());
  if (!options.out.empty()) {
    core::write_file_atomically(options.out, reports::diff_page(diff));
    fmt::print(stderr, "page: {}\n", options.out);
  }
  if (!options.markdown.empty()) {
    core::write_file_atomically(options.markdown, reports::diff_markdown(diff));
    fmt::print(stderr, "Markdown: {}\n", options.markdown);
  }
  if (options.json) {
    fmt::print("{}\n", reports::to_json(diff).dump(2, ' ', false,
                                                   nlohmann::json::error_handler_t::replace));
  } else if (options.markdown.empty()) {
    fmt::print("{}", reports::diff_markdown(diff));
  }
  return diff.got_worse() ? core::ExitCode::kParityFailed : core::ExitCode::kPass;
}

void add_diff(CLI::App& report, Action& action) {
  const auto options = std::make_shared<DiffOptions>();
  CLI::App& command = *report.add_subcommand(
      "diff",
      "Say what changed from one report to a later one, as Markdown on stdout\n"
      "Exit code 0: no verdict got worse. 1: one did: of the run, a suite run or a case, by the "
      "order in which exit codes win; one that is gone though it was judged, and a new one that "
      "did "
      "not pass, count as worse. 5: bad input");
  command.add_option("A", options->before, "The earlier report.json, or its folder")
      ->required()
      ->check(not_empty());
  command.add_option("B", options->after, "The later one")->required()->check(not_empty());
  command.add_option("--out", options->out, "Also write a page")
      ->check(not_empty())
      ->type_name("FILE.html");
  command
      .add_option("--markdown", options->markdown, "Write the Markdown here instead of to stdout")
      ->check(not_empty())
      ->type_name("FILE.md");
  command.add_flag("--json", options->json, "Print the differences as JSON instead");
  command.footer(example("sparity report diff main/report.json sparity-report --out diff.html"));
  command.callback([options, &action] { action = [options] { return diff(*options); }; });
}

}  // namespace

void add_report(CLI::App& app, Action& action) {
  CLI::App& command = *app.add_subcommand("report", "Work with reports and figures as pages");
  command.require_subcommand(1);
  const auto files = std::make_shared<std::vector<std::string>>();
  CLI::App& render_command = *command.add_subcommand(
      "render",
      "Write index.html and junit.xml beside a report.json again, or performance.html beside "
      "figures of bench and against_transformers.py");
  render_command.add_option("FILE", *files, "report.json, or up to two files of figures")
      ->required()
      ->check(not_empty());
  render_command.footer(example("sparity report render sparity-report/report.json"));
  render_command.callback([files, &action] { action = [files] { return render(*files); }; });
  add_diff(command, action);
}

}  // namespace sparity::cli
