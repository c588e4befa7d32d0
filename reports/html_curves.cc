#include "reports/html_sections.h"
#include "reports/line_plot.h"
#include "reports/text.h"
#include "suites/judge/outcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace sparity::reports {

namespace {

using judge::LossCurve;

std::string curve_table(const LossCurve& curve) {
  constexpr std::size_t kMostRows = 500;
  constexpr auto kNumber = Table::Align::kNumber;
  Table table(shortened(curve.title), {{"Step"},
                                       {"Truth", kNumber},
                                       {"Baseline", kNumber},
                                       {"Candidate", kNumber},
                                       {"|baseline − truth|", kNumber},
                                       {"|candidate − truth|", kNumber}});
  for (std::size_t index = 0; index < std::min(curve.steps.size(), kMostRows); ++index) {
    const double truth = curve.truth[index];
    table.row({fmt::format("{}", curve.steps[index]), precise_html(truth),
               precise_html(curve.baseline[index]), precise_html(curve.candidate[index]),
               number_html(std::abs(curve.baseline[index] - truth)),
               number_html(std::abs(curve.candidate[index] - truth))});
  }
  std::string out = table.html();
  if (curve.steps.size() > kMostRows) {
    out += fmt::format("<p class=\"quiet\">And {} more, in report.json.</p>\n",
                       curve.steps.size() - kMostRows);
  }
  return out;
}

/// A plot over a curve's steps, still without values.
LinePlot plot_over(const LossCurve& curve, std::string id) {
  LinePlot plot;
  plot.id = std::move(id);
  for (const std::int64_t step : curve.steps) {
    plot.places.push_back(fmt::format("step {}", step));
    plot.ticks.push_back(fmt::format("{}", step));
  }
  return plot;
}

std::vector<double> distances(const std::vector<double>& side, const std::vector<double>& truth) {
  std::vector<double> out;
  for (std::size_t index = 0; index < side.size(); ++index) {
    out.push_back(std::abs(side[index] - truth[index]));
  }
  return out;
}

std::string figure_html(std::string_view caption, const LinePlot& plot) {
  return fmt::format("<figure>\n<figcaption>{}</figcaption>\n", caption) + line_plot_html(plot) +
         "</figure>\n";
}

std::string curve_html(const LossCurve& curve, const std::string& id) {
  LinePlot losses = plot_over(curve, id);
  losses.title = shortened(curve.title);
  losses.scale = Scale::kLinear;
  losses.description =
      "The loss at each step of a training run, as truth, baseline and candidate computed it, each "
      "on its own way from the same weights. The table below has the figures.";
  losses.series = {{"truth, float64", "truth", curve.truth},
                   {"baseline", "baseline", curve.baseline},
                   {"candidate", "candidate", curve.candidate}};
  LinePlot apart = plot_over(curve, id + "-apart");
  apart.title = "Distance from truth of " + losses.title;
  apart.description =
      "How far baseline and candidate are from truth at each step. The table below has the "
      "figures.";
  apart.series = {{"|baseline − truth|", "baseline", distances(curve.baseline, curve.truth)},
                  {"|candidate − truth|", "candidate", distances(curve.candidate, curve.truth)}};
  return figure_html("Loss by step", losses) + figure_html("Distance from truth by step", apart) +
         details_html(
             counted(static_cast<std::int64_t>(curve.steps.size()), "step") + ", as a table",
             curve_table(curve));
}

}  // namespace

std::string curves_section(const Page& page) {
  constexpr std::size_t kMostCurves = 24;
  std::string out;
  std::size_t curves = 0;
  for (std::size_t index = 0; index < page.report.cases.size(); ++index) {
    const judge::CaseRecord& record = page.report.cases[index];
    for (std::size_t of_case = 0; of_case < record.curves.size(); ++of_case) {
      if (++curves > kMostCurves) {
        continue;
      }
      const LossCurve& curve = record.curves[of_case];
      const std::string title =
          fmt::format("{} <b>{}</b> <span class=\"quiet\">{} / {}, {}</span>",
                      status_html(judge::effective_verdict(record)), name_html(curve.title),
                      name_html(record.suite), name_html(record.name), name_html(record.dtype));
      // A case's first loss is what it is about; the others are its parts.
      out += details_html(title, curve_html(curve, fmt::format("curve{}-{}", index, of_case)),
                          of_case == 0);
    }
  }
  if (curves > kMostCurves) {
    out +=
        fmt::format("<p class=\"quiet\">And {} more, in report.json.</p>\n", curves - kMostCurves);
  }
  return out.empty() ? out
                     : "<section id=\"curves\">\n<h2>Loss curves</h2>\n" + out + "</section>\n";
}

}  // namespace sparity::reports
