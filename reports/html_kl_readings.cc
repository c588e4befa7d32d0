#include "reports/html_sections.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace sparity::reports {

namespace {

using judge::KlReading;

/// The comparison that judges a reading; its record has one, or the report was not made by us.
std::string headroom_of(const judge::CaseRecord& record, const KlReading& reading) {
  const auto judged =
      std::ranges::find(record.comparisons, reading.tensor, &judge::Comparison::tensor);
  return judged == record.comparisons.end() ? "–" : headroom_html(judged->worst_headroom());
}

Table table_of(const SuiteId& suite) {
  constexpr auto kNumber = Table::Align::kNumber;
  return Table("KL loss by its options, " + shortened(label(suite)), {{"Reduction"},
                                                                      {"Target"},
                                                                      {"Support"},
                                                                      {"Truth", kNumber},
                                                                      {"Baseline", kNumber},
                                                                      {"Candidate", kNumber},
                                                                      {"Headroom"}});
}

}  // namespace

std::string kl_readings_section(const Page& page) {
  std::map<SuiteId, Table> tables;
  for (std::size_t index = 0; index < page.report.cases.size(); ++index) {
    const judge::CaseRecord& record = page.report.cases[index];
    for (const KlReading& reading : record.kl_readings) {
      const SuiteId suite{record.suite, record.dtype, record.device};
      tables.try_emplace(suite, table_of(suite))
          .first->second.row({fmt::format(R"(<a href="#{}">{}</a>)", page.case_ids[index],
                                          name_html(reading.reduction)),
                              name_html(reading.target), name_html(reading.support),
                              precise_html(reading.truth), precise_html(reading.baseline),
                              precise_html(reading.candidate), headroom_of(record, reading)});
    }
  }
  std::string out;
  for (const auto& [suite, table] : tables) {
    out += fmt::format("<h3>{}</h3>\n", name_html(label(suite))) + table.html();
  }
  return out.empty()
             ? out
             : "<section id=\"kl-readings\">\n<h2>KL reductions</h2>\n"
               "<p class=\"quiet\">What the indexer's KL loss is on one and the same input under "
               "each of its options. Implementations differ in them, and a loss that was divided "
               "by something else looks like any other number.</p>\n" +
                   out + "</section>\n";
}

}  // namespace sparity::reports
