#include "reports/heat_map.h"
#include "reports/html_sections.h"
#include "reports/line_plot.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

namespace sparity::reports {

namespace {

/// What a gate looks at, in a word or two; its note has the formula and the figures.
std::string_view subject_of(std::string_view gate) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 18> kSubjects = {{
      {"truth", "truth is fit to judge by"},
      {"baseline", "baseline is honest"},
      {"G0", "structure"},
      {"G1", "whole tensor"},
      {"G2", "worst row"},
      {"G2c", "worst column"},
      {"G3", "worst element"},
      {"G4", "bias"},
      {"S1", "score parity"},
      {"S2", "exact top-k of own scores"},
      {"S3", "valid indices"},
      {"S4", "flips explained by margins"},
      {"S5", "forced selection"},
      {"S6", "rows without flips"},
      {"S7", "engineered inputs"},
      {"exact", "bit equality"},
      {"bound", "a-priori bound"},
      {"", ""},
  }};
  for (const auto& [name, subject] : kSubjects) {
    if (name == gate) {
      return subject;
    }
  }
  return {};
}

std::string gates_html(const judge::Comparison& comparison) {
  Table table("Gates of " + shortened(comparison.tensor), {{"Gate"},
                                                           {"Status"},
                                                           {"Headroom"},
                                                           {"Error", Table::Align::kNumber},
                                                           {"Allowed", Table::Align::kNumber},
                                                           {"What it says"}});
  for (const judge::Gate& gate : comparison.gates) {
    table.row({fmt::format(R"(<b>{}</b> <span class="quiet">{}</span>)", name_html(gate.name),
                           subject_of(gate.name)),
               gate_status_html(gate), headroom_html(gate.headroom()), number_html(gate.lhs),
               number_html(gate.rhs),
               fmt::format(R"(<span class="note">{}</span>)", escaped(shortened(gate.note, 300)))});
  }
  return table.empty() ? "<p class=\"quiet\">No gate was formed.</p>\n" : table.html();
}

std::string statistics_html(const judge::Comparison& comparison) {
  return fmt::format(
      R"(<p class="figures">rms of truth {} · candidate's error {} · baseline's error {} · relative L2 {} · cosine {} · calc_diff {}</p>
)",
      number_html(comparison.rms_truth), number_html(comparison.rms_candidate_error),
      number_html(comparison.rms_baseline_error), number_html(comparison.relative_l2),
      number_html(comparison.cosine), number_html(comparison.calc_diff));
}

std::string worst_html(const judge::Comparison& comparison) {
  if (comparison.worst.empty()) {
    return {};
  }
  Table table("Worst elements of " + shortened(comparison.tensor),
              {{"Index"},
               {"Candidate", Table::Align::kNumber},
               {"Baseline", Table::Align::kNumber},
               {"Truth", Table::Align::kNumber},
               {"ULP", Table::Align::kNumber},
               {"Error / allowed", Table::Align::kNumber}});
  for (const judge::WorstElement& element : comparison.worst) {
    table.row({fmt::format("<code>{}</code>", bracketed(element.index)),
               number_html(element.candidate), number_html(element.baseline),
               number_html(element.truth), number_html(element.ulps), number_html(element.share)});
  }
  return "<h5>Worst elements</h5>\n" + table.html();
}

std::string magnitudes_html(const judge::Comparison& comparison, const std::string& id) {
  if (comparison.buckets.empty()) {
    return {};
  }
  LinePlot plot;
  plot.id = id + "-magnitude";
  plot.title = "Error against magnitude of " + shortened(comparison.tensor);
  plot.description =
      "For elements of each magnitude of the truth: root mean square and largest error of the "
      "candidate, and root mean square error of the baseline. The table below has the figures.";
  LineSeries candidate{"candidate, rms", "candidate", {}};
  LineSeries baseline{"baseline, rms", "baseline", {}};
  LineSeries largest{"candidate, largest", "worst", {}};
  Table table("Errors by magnitude of " + shortened(comparison.tensor),
              {{"|truth| from"},
               {"to", Table::Align::kNumber},
               {"Elements", Table::Align::kNumber},
               {"Candidate rms", Table::Align::kNumber},
               {"Baseline rms", Table::Align::kNumber},
               {"Candidate largest", Table::Align::kNumber}});
  for (const judge::MagnitudeBucket& bucket : comparison.buckets) {
    plot.places.push_back(
        fmt::format("|truth| from {} to {}", number(bucket.from), number(bucket.to)));
    plot.ticks.push_back(fmt::format("{:.3g}", bucket.from));
    candidate.values.push_back(bucket.rms_candidate);
    baseline.values.push_back(bucket.rms_baseline);
    largest.values.push_back(bucket.max_candidate);
    table.row({number_html(bucket.from), number_html(bucket.to), fmt::format("{}", bucket.count),
               number_html(bucket.rms_candidate), number_html(bucket.rms_baseline),
               number_html(bucket.max_candidate)});
  }
  plot.series = {baseline, candidate, largest};
  return "<h5>Error against magnitude of the truth</h5>\n" + line_plot_html(plot) +
         details_html("Magnitudes, as a table", table.html());
}

}  // namespace

std::string comparison_html(const judge::Comparison& comparison, const std::string& id) {
  std::string out = fmt::format(
      R"(<div class="evidence">
<h4><code>{}</code> <span class="quiet">{} {}</span></h4>
)",
      escaped(shortened(comparison.tensor, 4000)), bracketed(comparison.shape),
      core::to_string(comparison.dtype));
  out += gates_html(comparison) + statistics_html(comparison) + worst_html(comparison);
  if (comparison.error_map) {
    out += "<h5>Where the error sits</h5>\n" +
           heat_map_html(*comparison.error_map, id + "-map", comparison.tensor);
  }
  return out + magnitudes_html(comparison, id) + "</div>\n";
}

}  // namespace sparity::reports
