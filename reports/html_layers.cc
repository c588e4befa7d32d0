#include "reports/html_sections.h"
#include "reports/line_plot.h"
#include "reports/text.h"
#include "suites/judge/outcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

namespace sparity::reports {

namespace {

using judge::DivergenceClass;
using judge::TracePoint;

/// "layer 3" where a layer starts, the name's first step elsewhere, nothing within a layer; a
/// gradient stands at the tensor that it is of.
std::vector<std::string> ticks_of(const std::vector<TracePoint>& trace) {
  std::vector<std::string> ticks;
  std::string last;
  for (const TracePoint& point : trace) {
    std::string_view name = differentiated(point.tensor).value_or(point.tensor);
    const bool in_layer = name.starts_with("layers.");
    if (in_layer) {
      name.remove_prefix(std::string_view("layers.").size());
    }
    const std::string_view step = name.substr(0, name.find('.'));
    std::string tick = (in_layer ? "layer " : "") + std::string(step);
    ticks.push_back(tick == last ? std::string() : tick);
    last = std::move(tick);
  }
  return ticks;
}

std::optional<std::size_t> first_bug(const judge::CaseRecord& record) {
  const auto found = std::ranges::find_if(record.trace, [&](const TracePoint& point) {
    return point.divergence == DivergenceClass::kBug || point.tensor == record.first_divergence;
  });
  return found == record.trace.end()
             ? std::nullopt
             : std::optional(static_cast<std::size_t>(found - record.trace.begin()));
}

LineSeries series(std::string name, std::string style, const std::vector<TracePoint>& trace,
                  double TracePoint::*member) {
  LineSeries out{std::move(name), std::move(style), {}};
  std::ranges::transform(trace, std::back_inserter(out.values),
                         [=](const TracePoint& point) { return point.*member; });
  return out;
}

std::string divergence_html(DivergenceClass divergence) {
  switch (divergence) {
    case DivergenceClass::kClean:
      return "clean";
    case DivergenceClass::kBug:
      return "<b class=\"fail\">bug</b>";
    case DivergenceClass::kAccumulated:
      return "<span class=\"warn\">accumulated</span>";
    case DivergenceClass::kUnexplained:
      return "<b class=\"fail\">unexplained</b>";
  }
  return "unknown";
}

std::string trace_table(const judge::CaseRecord& record) {
  constexpr std::size_t kMostRows = 500;
  Table table("Trace of " + shortened(record.name), {{"Tensor"},
                                                     {"Put down to"},
                                                     {"Local headroom"},
                                                     {"Free-run error", Table::Align::kNumber},
                                                     {"Baseline's error", Table::Align::kNumber},
                                                     {"Predicted", Table::Align::kNumber}});
  for (std::size_t index = 0; index < std::min(record.trace.size(), kMostRows); ++index) {
    const TracePoint& point = record.trace[index];
    table.row({fmt::format("<code>{}</code>", name_html(point.tensor)),
               divergence_html(point.divergence), headroom_html(point.local_headroom),
               number_html(point.free_error), number_html(point.baseline_error),
               number_html(point.predicted_error)});
  }
  std::string out = table.html();
  if (record.trace.size() > kMostRows) {
    out += fmt::format("<p class=\"quiet\">And {} more, in report.json.</p>\n",
                       record.trace.size() - kMostRows);
  }
  return out;
}

}  // namespace

std::string trace_html(const judge::CaseRecord& record, const std::string& id) {
  LinePlot local;
  local.id = id + "-local";
  local.title = "Local headroom along " + shortened(record.name);
  local.description =
      "Each tensor with true inputs: its worst gate, as error over what is allowed. Above the line "
      "at 1 the tensor itself is wrong.";
  std::ranges::transform(record.trace, std::back_inserter(local.places), &TracePoint::tensor);
  local.ticks = ticks_of(record.trace);
  local.limit = 1;
  local.marked = first_bug(record);
  LinePlot free = local;
  local.series = {series("local headroom, true inputs", "candidate", record.trace,
                         &TracePoint::local_headroom)};
  free.id = id + "-free";
  free.title = "Free-run error along " + shortened(record.name);
  free.description =
      "Relative root mean square error with the candidate's own inputs, the baseline's, and what "
      "local errors and measured gains add up to.";
  free.limit.reset();
  free.series = {series("baseline", "baseline", record.trace, &TracePoint::baseline_error),
                 series("predicted from local errors", "predicted", record.trace,
                        &TracePoint::predicted_error),
                 series("candidate, free run", "candidate", record.trace, &TracePoint::free_error)};
  return "<figure>\n<figcaption>Local headroom: is this tensor right when its inputs are? Above 1 "
         "it is not.</figcaption>\n" +
         line_plot_html(local) +
         "</figure>\n<figure>\n<figcaption>Relative RMS error of the free run: what reached this "
         "tensor.</figcaption>\n" +
         line_plot_html(free) + "</figure>\n" +
         details_html(
             fmt::format("{}, as a table",
                         counted(static_cast<std::int64_t>(record.trace.size()), "traced tensor")),
             trace_table(record));
}

std::string layers_section(const Page& page) {
  constexpr std::size_t kMostCharts = 6;
  std::string out;
  std::size_t charts = 0;
  for (std::size_t index = 0; index < page.report.cases.size(); ++index) {
    const judge::CaseRecord& record = page.report.cases[index];
    if (record.trace.empty()) {
      continue;
    }
    const bool back = differentiated(record.trace.front().tensor).has_value();
    const std::string title = fmt::format(
        "{} <b>{} / {}</b> <span class=\"quiet\">{}{}</span>",
        status_html(judge::effective_verdict(record)), name_html(record.suite),
        name_html(record.name), name_html(record.dtype), back ? ", gradients on the way back" : "");
    if (has_evidence(page, index)) {
      out += fmt::format("<p>{} – <a href=\"#{}\">chart on its card</a></p>\n", title,
                         page.case_ids[index]);
    } else if (++charts <= kMostCharts) {
      const bool failed = judge::effective_verdict(record) != judge::Verdict::kPass;
      out += details_html(title, trace_html(record, fmt::format("layers{}", index)), failed);
    }
  }
  if (charts > kMostCharts) {
    out +=
        fmt::format("<p class=\"quiet\">And {} more, in report.json.</p>\n", charts - kMostCharts);
  }
  return out.empty() ? out
                     : "<section id=\"layers\">\n<h2>Along the model</h2>\n" + out + "</section>\n";
}

}  // namespace sparity::reports
