#include "reports/assessment.h"
#include "reports/report_diff_pages.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace sparity::reports {

namespace {

constexpr std::size_t kMostMarkdownRows = 20;

/// Text as a code span, within which nothing acts. Its fence is longer than any within it; '|',
/// which would end a table's cell even there, is spelled out.
std::string code(std::string_view text, std::size_t longest = 160) {
  std::string content;
  std::size_t run = 0;
  std::size_t longest_run = 0;
  for (const char letter : visible(shortened(text, longest))) {
    content += letter == '|' ? std::string("\\x7C") : std::string(1, letter);
    run = letter == '`' ? run + 1 : 0;
    longest_run = std::max(longest_run, run);
  }
  if (content.find_first_not_of(' ') == std::string::npos) {
    return "–";
  }
  const std::string fence(longest_run + 1, '`');
  const char* space = longest_run > 0 ? " " : "";
  return fence + space + content + space + fence;
}

std::string place(const SuiteId& suite, const std::string& name) {
  return code(label(suite)) + (name.empty() ? "" : " " + code(name));
}

std::string verdict(const std::optional<judge::Verdict>& of) {
  return of ? std::string(words(*of)) : "not there";
}

/// A heading and a table of at most kMostMarkdownRows items; nothing for none.
template <typename Item, typename Cells>
std::string table(std::string_view title, std::string_view header, const std::vector<Item>& items,
                  Cells cells_of) {
  if (items.empty()) {
    return {};
  }
  std::string out = fmt::format("\n### {}\n\n{}\n", title, header);
  const auto columns = std::ranges::count(header, '|') - 1;
  for (std::ptrdiff_t column = 0; column < columns; ++column) {
    out += "|---";
  }
  out += "|\n";
  for (std::size_t index = 0; index < std::min(items.size(), kMostMarkdownRows); ++index) {
    out += cells_of(items[index]) + "\n";
  }
  return items.size() > kMostMarkdownRows
             ? out + fmt::format("\nAnd {} more.\n", items.size() - kMostMarkdownRows)
             : out;
}

std::string verdict_row(const VerdictChange& change) {
  const std::string cases = change.cases == 0 ? "" : counted(change.cases, "case") + ". ";
  return fmt::format("| {} | {} | {} | {} | {} |", place(change.suite, change.name),
                     verdict(change.before), verdict(change.after),
                     change.got_worse() ? "**worse**" : "not worse",
                     cases + (change.why.empty() ? "–" : code(change.why)));
}

}  // namespace

std::string diff_markdown(const ReportDiff& diff) {
  std::string out =
      fmt::format("## Sparity: {}\n\nThe run {} before and {} after. {}\n", diff_headline(diff),
                  words(diff.before.verdict), words(diff.after.verdict), diff_moves(diff));
  if (const std::string caution = diff_caution(diff); !caution.empty()) {
    out += fmt::format("\n**{}**\n", caution);
  }
  constexpr std::string_view kVerdicts = "| What | Before | After | Way | Why |";
  out += table("Suite runs", kVerdicts, diff.suites, verdict_row);
  out += table("Cases", kVerdicts, diff.cases, verdict_row);
  out += table(
      "Closer to what is allowed, or further beyond", "| Tensor | Before | After | Gate | Case |",
      diff.rises, [](const HeadroomRise& rise) {
        return fmt::format("| {} | {} | {} | {} | {} |", code(rise.tensor), ratio(rise.before),
                           ratio(rise.after), code(rise.gate), place(rise.suite, rise.name));
      });
  out +=
      table("Tensors compared in one report only", "| Tensor | | Case |", diff.tensors,
            [](const TensorChange& change) {
              return fmt::format("| {} | {} | {} |", code(change.tensor),
                                 change.is_new ? "new" : "gone", place(change.suite, change.name));
            });
  const auto exercised = [](const std::optional<bool>& of) {
    return !of ? "not there" : *of ? "exercised" : "not exercised";
  };
  out += table("Conditions", "| Condition | Before | After | Suite run | Figures |",
               diff.conditions, [&](const ConditionChange& change) {
                 return fmt::format("| {} | {} | {} | {} | {} |", code(change.name),
                                    exercised(change.before), exercised(change.after),
                                    place(change.suite, {}), code(change.detail));
               });
  const auto reason = [](const std::optional<std::string>& of) {
    return !of ? std::string("not skipped") : of->empty() ? "no reason given" : code(*of);
  };
  out += table("Skips", "| Skipped | Before | After |", diff.skips, [&](const SkipChange& change) {
    return fmt::format("| {} | {} | {} |", place(change.suite, change.name), reason(change.before),
                       reason(change.after));
  });
  out += table("Known mistakes looked for in one report only", "| Mistake | | What |",
               diff.mistakes, [](const MistakeChange& change) {
                 return fmt::format("| {} | {} | {} |", code(change.id),
                                    change.is_new ? "new" : "gone", code(change.title));
               });
  return out + table("Made otherwise", "| What | Before | After |", diff.settings,
                     [](const SettingChange& setting) {
                       return fmt::format("| {} | {} | {} |", code(setting.name),
                                          code(shown_setting(setting.before)),
                                          code(shown_setting(setting.after)));
                     });
}

}  // namespace sparity::reports
