#include "reports/assessment.h"
#include "reports/performance_json.h"
#include "reports/render.h"
#include "reports/report_json.h"
#include "src/core/strict_json.h"
#include "suites/cli/command.h"
#include "suites/cli/overwriting.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace sparity::cli {

namespace {

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
}

}  // namespace sparity::cli
