#include "reports/html_sections.h"
#include "reports/text.h"
#include "suites/judge/outcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace sparity::reports {

namespace {

using judge::Comparison;
using judge::Verdict;

// What keeps a run in which everything is wrong at a size that a browser opens. Whatever is left
// out is counted, and stands in report.json.
constexpr std::size_t kCardsWithEvidence = 8;
constexpr std::size_t kComparisonsWithEvidence = 3;
constexpr std::size_t kMostComparisons = 100;

std::string comparison_table(const std::string& name, const std::vector<const Comparison*>& rows) {
  Table table(name, {{"Tensor"}, {"Gate"}, {"Headroom"}, {"Shape"}, {"Dtype"}});
  for (std::size_t index = 0; index < std::min(rows.size(), kMostComparisons); ++index) {
    const Comparison& comparison = *rows[index];
    const judge::Gate* failed = comparison.first_failed();
    table.row({fmt::format("<code>{}</code>", name_html(comparison.tensor)),
               failed == nullptr ? "all hold" : name_html(failed->name) + " fails",
               headroom_html(comparison.worst_headroom()), bracketed(comparison.shape),
               std::string(core::to_string(comparison.dtype))});
  }
  std::string out = table.html();
  if (rows.size() > kMostComparisons) {
    out += fmt::format("<p class=\"quiet\">And {} more, in report.json.</p>\n",
                       rows.size() - kMostComparisons);
  }
  return out;
}

/// Comparisons of a case: the first that fail with all their evidence, the others as tables.
std::string comparisons_html(const judge::CaseRecord& record, const std::string& id,
                             bool with_evidence) {
  std::vector<const Comparison*> failed;
  std::vector<const Comparison*> passed;
  for (const Comparison& comparison : record.comparisons) {
    (comparison.passed() ? passed : failed).push_back(&comparison);
  }
  std::string out;
  if (failed.size() > 1 || (!failed.empty() && !with_evidence)) {
    out += "<h4>Tensors that fail, in order</h4>\n" +
           comparison_table("Failing tensors of " + shortened(record.name), failed);
  }
  if (with_evidence) {
    for (std::size_t index = 0; index < std::min(failed.size(), kComparisonsWithEvidence);
         ++index) {
      out += comparison_html(*failed[index], fmt::format("{}-{}", id, index));
    }
  }
  if (!passed.empty()) {
    const auto count = static_cast<std::int64_t>(passed.size());
    out += details_html(
        counted(count, "tensor") + (count == 1 ? " holds" : " hold"),
        comparison_table("Tensors of " + shortened(record.name) + " that hold", passed));
  }
  return out;
}

std::string conditions_html(const judge::CaseRecord& record) {
  std::string out;
  for (const judge::Condition& condition : record.conditions) {
    if (!condition.exercised && condition.required) {
      out += fmt::format("<li>Not exercised: {} <span class=\"quiet\">{}</span></li>",
                         name_html(condition.name), escaped(shortened(condition.detail, 300)));
    }
  }
  return out.empty() ? out : "<ul class=\"plain\">" + out + "</ul>\n";
}

std::string leads_html(const Page& page, const judge::CaseRecord& record) {
  std::string out = "<dl class=\"leads\">\n";
  const std::string tensor = blamed_tensor(record);
  if (!tensor.empty()) {
    out += fmt::format("<dt>First divergence</dt><dd><code>{}</code></dd>\n",
                       escaped(shortened(tensor, 4000)));
  }
  if (const std::string known = mistakes_html(page.report, record, tensor); !known.empty()) {
    out += fmt::format("<dt>Mistakes known to start there</dt><dd>{}</dd>\n", known);
  }
  return out + fmt::format("<dt>Rerun</dt><dd>{}</dd>\n</dl>\n", command_html(record.rerun));
}

std::string setting_of(const judge::CaseRecord& record) {
  std::string setting;
  for (const std::string& part : {record.dtype, record.config, record.recipe, record.device}) {
    setting += part.empty() ? part : shortened(part, 60) + " · ";
  }
  return escaped(fmt::format("{}seed {} · {}", setting, record.seed, duration(record.seconds)));
}

std::string case_title(const judge::CaseRecord& record) {
  return fmt::format(R"({} <b>{} / {}</b> <span class="quiet">{}</span>)",
                     status_html(judge::effective_verdict(record)), name_html(record.suite),
                     name_html(record.name), setting_of(record));
}

std::string case_card(const Page& page, std::size_t index, bool with_evidence) {
  const judge::CaseRecord& record = page.report.cases[index];
  const std::string& anchor = page.case_ids[index];
  const std::string id = fmt::format("case{}", index);
  std::string content;
  if (!record.message.empty()) {
    content += fmt::format("<p class=\"why\">{}</p>\n", escaped(shortened(record.message, 2000)));
  }
  content += conditions_html(record) + leads_html(page, record) +
             comparisons_html(record, id, with_evidence);
  if (with_evidence && !record.trace.empty()) {
    content += "<h4>Along the model</h4>\n" + trace_html(record, id + "-trace");
  }
  if (!with_evidence) {
    return details_html(case_title(record), content, false, anchor);
  }
  return fmt::format("<article class=\"card {}\" id=\"{}\">\n<h3>{}</h3>\n{}</article>\n",
                     colour_class(judge::effective_verdict(record)), anchor, case_title(record),
                     content);
}

bool did_not_pass(const judge::CaseRecord& record) {
  const Verdict verdict = judge::effective_verdict(record);
  return verdict != Verdict::kPass && verdict != Verdict::kSkip;
}

std::string suite_card(const Page& page, const SuiteRow& row) {
  std::string content = fmt::format("<p class=\"why\">{}.</p>\n<dl class=\"leads\">\n",
                                    escaped(shortened(without_full_stop(row.why), 2000)));
  if (row.run != nullptr) {
    content += fmt::format("<dt>Process</dt><dd>{} after {}</dd>\n",
                           row.run->signal_number != 0
                               ? fmt::format("ended by signal {}", row.run->signal_number)
                               : fmt::format("exit code {}", row.run->exit_code),
                           duration(row.run->seconds));
  }
  if (!row.cases.empty()) {
    content += fmt::format("<dt>Last case recorded</dt><dd>{}</dd>\n",
                           name_html(page.report.cases[row.cases.back()].name));
  }
  content +=
      fmt::format("<dt>Rerun</dt><dd>{}</dd>\n</dl>\n",
                  command_html(row.run == nullptr ? page.report.command_line : row.run->rerun));
  if (row.run != nullptr && !row.run->stderr_tail.empty()) {
    content +=
        fmt::format("<h4>Last words on stderr</h4>\n<pre class=\"log\" tabindex=\"0\">{}</pre>\n",
                    escaped(shortened(row.run->stderr_tail, 8000), Lines::kMany));
  }
  return fmt::format("<article class=\"card {}\" id=\"{}\">\n<h3>{} <b>{}</b></h3>\n{}</article>\n",
                     colour_class(row.verdict), suite_card_anchor(row.id),
                     status_html(row, page.report.complete), name_html(label(row.id)), content);
}

}  // namespace

bool has_evidence(const Page& page, std::size_t index) {
  const std::vector<std::size_t>& all = page.assessment.not_passed;
  const auto found = std::ranges::find(all, index);
  return found != all.end() && static_cast<std::size_t>(found - all.begin()) < kCardsWithEvidence;
}

bool has_own_card(const Page& page, const SuiteRow& row) {
  const bool unreached = row.run == nullptr && row.cases.empty() && !page.report.complete;
  if (row.verdict == Verdict::kPass || row.verdict == Verdict::kSkip || unreached) {
    return false;
  }
  return row.run == nullptr || std::ranges::none_of(row.cases, [&](std::size_t index) {
           return judge::effective_verdict(page.report.cases[index]) == row.verdict;
         });
}

std::string failures_section(const Page& page) {
  std::string cards;
  std::string folded;
  std::string unreached;
  std::size_t cases = 0;
  for (const SuiteRow& row : page.assessment.rows) {
    for (const std::size_t index : row.cases) {
      if (did_not_pass(page.report.cases[index])) {
        ++cases;
        const bool with_evidence = has_evidence(page, index);
        (with_evidence ? cards : folded) += case_card(page, index, with_evidence);
      }
    }
    if (has_own_card(page, row)) {
      cards += suite_card(page, row);
    } else if (row.run == nullptr) {
      unreached += fmt::format("<li>{}</li>", name_html(label(row.id)));
    }
  }
  if (!folded.empty()) {
    cards += fmt::format("<h3>{} more, without plots</h3>\n", cases - kCardsWithEvidence) + folded;
  }
  if (const std::int64_t left_out = page.report.error_maps_left_out; left_out > 0) {
    cards += fmt::format(
        "<p class=\"quiet\">Maps of the error were left out for {} that failed too: a report keeps "
        "those of the first and the worst. A run's results.jsonl has them all.</p>\n",
        counted(left_out, "comparison"));
  }
  if (!unreached.empty()) {
    cards += "<h3>Not reached</h3>\n<ul class=\"plain\">" + unreached + "</ul>\n";
  }
  return cards.empty()
             ? cards
             : "<section id=\"failures\">\n<h2>What did not pass</h2>\n" + cards + "</section>\n";
}

}  // namespace sparity::reports
