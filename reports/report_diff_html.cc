#include "reports/assessment.h"
#include "reports/html_parts.h"
#include "reports/report_diff_pages.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace sparity::reports {

namespace {

using judge::Verdict;

constexpr std::size_t kMostHtmlRows = 300;

/// A name that a narrow screen may break anywhere.
std::string broken_html(const std::string& html) {
  return fmt::format(R"(<span class="name">{}</span>)", html);
}

std::string code_html(std::string_view name) {
  return broken_html(fmt::format("<code>{}</code>", name_html(name)));
}

std::string word_html(std::string_view colour, std::string_view word) {
  return fmt::format(
      R"(<span class="st {0}"><svg class="i" aria-hidden="true"><use href="#i-{0}"/></svg>{1}</span>)",
      colour, word);
}

std::string verdict_html(const std::optional<Verdict>& verdict) {
  return verdict ? status_html(*verdict) : std::string("<span class=\"quiet\">not there</span>");
}

std::string text_html(std::string_view text) {
  return text.empty() ? "<span class=\"quiet\">–</span>" : escaped(shortened(text, 400));
}

/// A block of its own within a cell, so that a long text wraps.
std::string note_html(std::string_view text) {
  return fmt::format(R"(<span class="note">{}</span>)", text_html(text));
}

/// "rope · float32", or "first-claim" with the suite run below it.
std::string place_html(const SuiteId& suite, const std::string& name) {
  const std::string run = name_html(label(suite));
  return broken_html(
      name.empty() ? run
                   : fmt::format(R"({}<br><span class="quiet">{}</span>)", name_html(name), run));
}

/// At most kMostHtmlRows items, each as a row of `table`, and a line for the others.
template <typename Item, typename Cells>
std::string rows_html(Table table, const std::vector<Item>& items, Cells cells_of) {
  for (std::size_t index = 0; index < std::min(items.size(), kMostHtmlRows); ++index) {
    table.row(cells_of(items[index]));
  }
  std::string out = table.html();
  if (items.size() > kMostHtmlRows) {
    out += fmt::format("<p class=\"quiet\">And {} more; <code>--json</code> lists them.</p>\n",
                       items.size() - kMostHtmlRows);
  }
  return out;
}

std::string section_html(std::string_view id, std::string_view title, const std::string& content) {
  return fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n", id, title, content);
}

std::string banner(const ReportDiff& diff) {
  const bool worse = diff.got_worse();
  const char* colour = worse ? "fail" : diff.comparable() ? "pass" : "warn";
  std::string out = fmt::format(
      R"(<section id="verdict" class="banner {0}" aria-label="Verdict">
<p class="subject">Report before: {1} · after: {2}</p>
<h1><svg class="i" aria-hidden="true"><use href="#i-{0}"/></svg>{3}</h1>
<p class="why">The run {4} before and {5} after. {6}</p>
)",
      colour, escaped(shortened(diff.before.source, 200)),
      escaped(shortened(diff.after.source, 200)), diff_headline(diff), words(diff.before.verdict),
      words(diff.after.verdict), diff_moves(diff));
  if (const std::string caution = diff_caution(diff); !caution.empty()) {
    out += fmt::format("<p class=\"notice\"><strong>{}</strong></p>\n", escaped(caution));
  }
  return out + "</section>\n";
}

std::string sides_section(const ReportDiff& diff) {
  Table table("The two reports",
              {{"Report"}, {"Verdict"}, {"Comparisons", Table::Align::kNumber}, {"Why"}});
  for (const auto& [name, side] :
       {std::pair{"before", &diff.before}, std::pair{"after", &diff.after}}) {
    table.row({name, status_html(side->verdict), fmt::format("{}", side->comparisons),
               note_html(side->why + (side->complete ? "" : " (the run had not finished)"))});
  }
  return section_html("reports", "The two reports", table.html());
}

std::string settings_section(const ReportDiff& diff) {
  if (diff.settings.empty()) {
    return {};
  }
  using Kind = SettingChange::Kind;
  return section_html(
      "made", "Made otherwise",
      rows_html(
          Table("What the reports were made with", {{"What"}, {"Kind"}, {"Before"}, {"After"}}),
          diff.settings, [](const SettingChange& setting) -> std::vector<std::string> {
            return {name_html(setting.name),
                    setting.kind == Kind::kQuestion ? word_html("warn", "what was asked")
                    : setting.kind == Kind::kBuild  ? "the build"
                                                    : "the machine",
                    note_html(shown_setting(setting.before)),
                    note_html(shown_setting(setting.after))};
          }));
}

std::string verdicts_section(const ReportDiff& diff) {
  std::string content;
  const auto table_of = [&](const char* title, const char* first,
                            const std::vector<VerdictChange>& changes) {
    if (changes.empty()) {
      return;
    }
    content += fmt::format("<h3>{}</h3>\n", title);
    content += rows_html(
        Table(title, {{first}, {"Way"}, {"Before"}, {"After"}, {"Why"}}), changes,
        [](const VerdictChange& change) -> std::vector<std::string> {
          const std::string cases = change.cases == 0 ? "" : counted(change.cases, "case") + ". ";
          return {place_html(change.suite, change.name),
                  change.got_worse() ? word_html("fail", "worse") : word_html("pass", "not worse"),
                  verdict_html(change.before), verdict_html(change.after),
                  note_html(cases + change.why)};
        });
  };
  table_of("Suite runs", "Suite run", diff.suites);
  table_of("Cases", "Case", diff.cases);
  return content.empty() ? content : section_html("verdicts", "Verdicts that changed", content);
}

std::string rises_section(const ReportDiff& diff) {
  if (diff.rises.empty()) {
    return {};
  }
  return section_html(
      "headroom", "Closer to what is allowed, or further beyond",
      fmt::format("<p class=\"quiet\">The error over what is allowed, of each tensor's worst gate. "
                  "{}</p>\n",
                  diff_moves(diff)) +
          rows_html(Table("Tensors whose headroom shrank",
                          {{"Tensor"}, {"Before"}, {"After"}, {"Gate"}, {"Case"}}),
                    diff.rises, [](const HeadroomRise& rise) -> std::vector<std::string> {
                      return {code_html(rise.tensor), headroom_html(rise.before),
                              headroom_html(rise.after), name_html(rise.gate),
                              place_html(rise.suite, rise.name)};
                    }));
}

std::string come_and_gone_section(const ReportDiff& diff) {
  std::string content;
  if (!diff.tensors.empty()) {
    content += "<h3>Tensors compared in one report only</h3>\n" +
               rows_html(Table("Tensors that are new or gone", {{"Tensor"}, {""}, {"Case"}}),
                         diff.tensors, [](const TensorChange& change) -> std::vector<std::string> {
                           return {code_html(change.tensor), change.is_new ? "new" : "gone",
                                   place_html(change.suite, change.name)};
                         });
  }
  if (!diff.mistakes.empty()) {
    content +=
        "<h3>Known mistakes looked for in one report only</h3>\n" +
        rows_html(Table("Known mistakes that are new or gone", {{"Mistake"}, {""}, {"What"}}),
                  diff.mistakes, [](const MistakeChange& change) -> std::vector<std::string> {
                    return {name_html(change.id), change.is_new ? "new" : "gone",
                            note_html(change.title)};
                  });
  }
  return content.empty() ? content : section_html("come-and-gone", "New or gone", content);
}

std::string conditions_section(const ReportDiff& diff) {
  if (diff.conditions.empty()) {
    return {};
  }
  const auto word = [](const std::optional<bool>& exercised) -> std::string {
    return !exercised   ? "<span class=\"quiet\">not there</span>"
           : *exercised ? word_html("pass", "exercised")
                        : word_html("warn", "not exercised");
  };
  return section_html(
      "exercised", "What the runs exercised",
      rows_html(Table("Conditions that changed",
                      {{"Condition"}, {"Before"}, {"After"}, {"Suite run"}, {"Figures"}}),
                diff.conditions, [&](const ConditionChange& change) -> std::vector<std::string> {
                  return {name_html(change.name), word(change.before), word(change.after),
                          name_html(label(change.suite)), note_html(change.detail)};
                }));
}

std::string skips_section(const ReportDiff& diff) {
  if (diff.skips.empty()) {
    return {};
  }
  const auto reason = [](const std::optional<std::string>& of) -> std::string {
    return of ? note_html(of->empty() ? "no reason given" : *of)
              : "<span class=\"quiet\">not skipped</span>";
  };
  return section_html(
      "skips", "Skips that changed",
      rows_html(Table("Skips that changed", {{"Skipped"}, {"Reason before"}, {"Reason after"}}),
                diff.skips, [&](const SkipChange& change) -> std::vector<std::string> {
                  return {place_html(change.suite, change.name), reason(change.before),
                          reason(change.after)};
                }));
}

}  // namespace

std::string diff_page(const ReportDiff& diff) {
  return document_html(diff_headline(diff) + " – Sparity, two reports",
                       R"(<a class="skip-link" href="#verdict">Skip to the verdict</a>)",
                       "<main>\n" + banner(diff) + sides_section(diff) + settings_section(diff) +
                           verdicts_section(diff) + rises_section(diff) +
                           come_and_gone_section(diff) + conditions_section(diff) +
                           skips_section(diff) + "</main>\n");
}

}  // namespace sparity::reports
