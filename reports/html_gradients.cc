#include "reports/html_sections.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <vector>

namespace sparity::reports {

namespace {

/// Where a parameter's gradient came closest to what is allowed, or exceeded it.
struct Closest {
  double headroom = -1;
  std::size_t record = 0;  // of Report::cases
};

/// One parameter: what each suite run says of its gradient.
struct Parameter {
  std::string_view name;
  std::map<SuiteId, Closest> runs;

  double worst() const {
    double worst = 0;
    for (const auto& [suite, closest] : runs) {
      worst = std::max(worst, closest.headroom);
    }
    return worst;
  }
};

/// Whether the judge measured an error there: claims of bits or paths have none.
bool is_measured(const judge::Comparison& comparison) {
  return std::ranges::any_of(comparison.gates,
                             [](const judge::Gate& gate) { return gate.name == "G1"; });
}

bool is_parameter(std::string_view name) {
  return name.starts_with("model.") || name.starts_with("lm_head.");
}

/// Worst first.
std::vector<Parameter> parameters_of(const Report& report) {
  std::map<std::string_view, Parameter> found;
  for (std::size_t index = 0; index < report.cases.size(); ++index) {
    const judge::CaseRecord& record = report.cases[index];
    for (const judge::Comparison& comparison : record.comparisons) {
      const auto name = differentiated(comparison.tensor);
      if (!name || !is_parameter(*name) || !is_measured(comparison)) {
        continue;
      }
      Parameter& parameter = found.try_emplace(*name, Parameter{*name, {}}).first->second;
      Closest& closest = parameter.runs[{record.suite, record.dtype, record.device}];
      if (comparison.worst_headroom() > closest.headroom) {
        closest = {comparison.worst_headroom(), index};
      }
    }
  }
  std::vector<Parameter> parameters;
  for (auto& [name, parameter] : found) {
    parameters.push_back(std::move(parameter));
  }
  std::ranges::stable_sort(parameters, std::greater(), &Parameter::worst);
  return parameters;
}

/// The suite runs that say something of a parameter, in the report's order.
std::vector<SuiteId> runs_of(const Report& report, const std::vector<Parameter>& parameters) {
  std::vector<SuiteId> runs;
  for (const judge::CaseRecord& record : report.cases) {
    const SuiteId run{record.suite, record.dtype, record.device};
    if (std::ranges::find(runs, run) == runs.end() &&
        std::ranges::any_of(
            parameters, [&](const Parameter& parameter) { return parameter.runs.contains(run); })) {
      runs.push_back(run);
    }
  }
  return runs;
}

std::string table_html(const Page& page, const std::vector<Parameter>& parameters) {
  constexpr std::size_t kMostRows = 400;
  const std::vector<SuiteId> runs = runs_of(page.report, parameters);
  std::vector<Table::Column> columns = {{"Parameter"}};
  for (const SuiteId& run : runs) {
    columns.push_back({name_html(label(run))});
  }
  columns.push_back({"Closest in"});
  Table table("Headrooms of gradients by parameter", std::move(columns));
  for (std::size_t row = 0; row < std::min(parameters.size(), kMostRows); ++row) {
    const Parameter& parameter = parameters[row];
    std::vector<std::string> cells = {fmt::format("<code>{}</code>", name_html(parameter.name))};
    const auto worst = std::ranges::max_element(
        parameter.runs, {}, [](const auto& entry) { return entry.second.headroom; });
    for (const SuiteId& run : runs) {
      const auto closest = parameter.runs.find(run);
      cells.push_back(closest == parameter.runs.end() ? "–"
                                                      : headroom_html(closest->second.headroom));
    }
    cells.push_back(fmt::format(R"(<a href="#{}">{}</a>)", page.case_ids[worst->second.record],
                                name_html(page.report.cases[worst->second.record].name)));
    table.row(cells);
  }
  std::string out = table.html();
  if (parameters.size() > kMostRows) {
    out += fmt::format("<p class=\"quiet\">And {} more, in report.json.</p>\n",
                       parameters.size() - kMostRows);
  }
  return out;
}

}  // namespace

std::string gradients_section(const Page& page) {
  const std::vector<Parameter> parameters = parameters_of(page.report);
  if (parameters.empty()) {
    return {};
  }
  const auto over = std::ranges::count_if(
      parameters, [](const Parameter& parameter) { return !(parameter.worst() <= 1); });
  const auto total = static_cast<std::int64_t>(parameters.size());
  const std::string reach =
      fmt::format("the closest at {} of what is allowed", ratio(parameters.front().worst()));
  const std::string summary =
      over == 0 ? fmt::format("{} within, {}", counted(total, "parameter"), reach)
                : fmt::format("{} of {} beyond what is allowed", over, counted(total, "parameter"));
  return "<section id=\"gradients\">\n<h2>Gradients by parameter</h2>\n"
         "<p class=\"quiet\">The largest headroom of each parameter's gradient over all cases, "
         "worst first. A layer's experts are judged as one.</p>\n" +
         details_html(summary, table_html(page, parameters), over != 0) + "</section>\n";
}

}  // namespace sparity::reports
