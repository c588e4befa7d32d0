#include "reports/html_sections.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <string_view>

namespace sparity::reports {

namespace {

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) {
    out += (out.empty() ? "" : ", ") + part;
  }
  return out;
}

std::string faults(const Provenance& provenance) {
  if (!provenance.planted_fault.empty()) {
    return "compiled in, and planted: " + provenance.planted_fault;
  }
  return provenance.faults_compiled_in ? "compiled in, none planted" : "not compiled in";
}

}  // namespace

std::string provenance_section(const Page& page) {
  const Report& report = page.report;
  const Provenance& made = report.provenance;
  std::string rows;
  const auto add = [&](std::string_view name, const std::string& value) {
    rows += fmt::format("<dt>{}</dt><dd>{}</dd>\n", name,
                        value.empty() ? "<span class=\"quiet\">not recorded</span>"
                                      : escaped(shortened(value, 1000)));
  };
  add("Sparity", report.tool_version);
  add("Started", report.started_utc);
  add("Finished", report.complete ? report.finished_utc : "not finished");
  add("Command", report.command_line);
  add("Configuration", made.config_name);
  add("Configuration hash", made.config_hash);
  add("Weights SHA-256", made.weights_sha256);
  add("Seed", fmt::format("{}", made.seed));
  add("Dtypes", joined(made.dtypes));
  add("Recipe", made.recipe);
  add("Git commit", made.git_commit);
  add("Compiler", made.compiler);
  add("Build", made.build_type);
  add("Flags", made.build_flags);
  add("LibTorch", made.libtorch_version);
  add("Planted faults", faults(made));
  add("CPU", made.cpu_model);
  add("Threads", fmt::format("{}", made.threads));
  add("Waivers", "none");
  add("Cases resumed", fmt::format("{}", report.resumed_cases));
  add("Exit code", fmt::format("{}", static_cast<int>(page.assessment.exit_code)));
  std::string content = "<dl class=\"facts\">\n" + rows + "</dl>\n";
  if (!made.config_json.empty()) {
    content += details_html("Configuration as JSON",
                            fmt::format("<pre class=\"log\" tabindex=\"0\">{}</pre>\n",
                                        escaped(shortened(made.config_json, 20000), Lines::kMany)));
  }
  return "<section id=\"provenance\">\n<h2>Provenance</h2>\n" +
         details_html("With what these figures were made", content) + "</section>\n";
}

}  // namespace sparity::reports
