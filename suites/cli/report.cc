#include "reports/assessment.h"
#include "reports/render.h"
#include "reports/report_json.h"
#include "suites/cli/command.h"

#include <fmt/format.h>

#include <string>

namespace sparity::cli {

void add_report(CLI::App& app, Action& action) {
  CLI::App& command = *app.add_subcommand("report", "Work with reports that check wrote");
  command.require_subcommand(1);
  const auto path = std::make_shared<std::string>();
  CLI::App& render = *command.add_subcommand(
      "render", "Write index.html and junit.xml beside a report.json again");
  render.add_option("REPORT", *path, "report.json")->required();
  render.footer(example("sparity report render sparity-report/report.json"));
  render.callback([path, &action] {
    action = [path] {
      const reports::Rendered rendered = reports::render(*path);
      fmt::print("{}\n{}\n", rendered.html.string(), rendered.junit.string());
      return core::ExitCode::kPass;
    };
  });
}

}  // namespace sparity::cli
