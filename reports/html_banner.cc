#include "reports/html_sections.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

namespace sparity::reports {

namespace {

using judge::Verdict;

std::string headline(const Page& page) {
  const Assessment& result = page.assessment;
  switch (result.verdict) {
    case Verdict::kPass:
      return result.conditions_not_exercised == 0
                 ? "Parity holds"
                 : fmt::format("Parity holds, {} not exercised",
                               counted(result.conditions_not_exercised, "condition"));
    case Verdict::kFail:
      return "Parity failed";
    case Verdict::kInconclusive:
      return "Inconclusive";
    case Verdict::kSkip:
      return "Everything was skipped";
    case Verdict::kCrash:
      return "A suite crashed";
    case Verdict::kTimeout:
      return "A suite timed out";
    case Verdict::kOutOfMemory:
      return "A suite ran out of memory";
    case Verdict::kBadInput:
      return "Bad input";
    case Verdict::kHarnessFault:
      return "The harness is at fault";
  }
  return "The harness is at fault";
}

std::string warnings(const Report& report) {
  std::string out;
  if (!report.complete) {
    out +=
        "<p class=\"notice\"><strong>Incomplete.</strong> The run had not finished when this was "
        "written; what is missing was not judged.</p>\n";
  }
  if (const std::string& fault = report.provenance.planted_fault; !fault.empty()) {
    out += fmt::format(
        "<p class=\"notice\"><strong>Planted fault {}.</strong> This run broke the "
        "candidate on purpose.</p>\n",
        name_html(fault));
  }
  return out;
}

/// First divergence, known mistakes, rerun: what an engineer does next.
std::string leads(const Page& page) {
  const Assessment& result = page.assessment;
  if (!result.leading_case) {
    return {};
  }
  const judge::CaseRecord& record = page.report.cases[*result.leading_case];
  std::string out = "<dl class=\"leads\">\n";
  const auto add = [&](std::string_view term, const std::string& html) {
    out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", term, html);
  };
  const SuiteId suite{record.suite, record.dtype, record.device};
  add(result.first_divergence.empty() ? "First case" : "First divergence",
      fmt::format(R"({}<a href="#{}">{} in {}</a>)",
                  result.first_divergence.empty()
                      ? std::string()
                      : fmt::format("<code>{}</code> · ", name_html(result.first_divergence)),
                  page.case_ids[*result.leading_case], name_html(record.name),
                  name_html(label(suite))));
  if (const std::string known = mistakes_html(page.report, record, result.first_divergence);
      !known.empty()) {
    add("Mistakes known to start there", known);
  }
  add("Rerun", command_html(record.rerun));
  return out + "</dl>\n";
}

}  // namespace

std::string mistakes_html(const Report& report, const judge::CaseRecord& record,
                          const std::string& tensor) {
  constexpr std::size_t kMost = 6;
  const std::vector<const KnownMistake*> found = mistakes_at(report, record, tensor);
  std::string out;
  for (std::size_t index = 0; index < std::min(found.size(), kMost); ++index) {
    out += fmt::format("<li><b>{}</b> {}</li>", name_html(found[index]->id),
                       name_html(found[index]->title));
  }
  if (found.size() > kMost) {
    out += fmt::format("<li>and {} more</li>", found.size() - kMost);
  }
  return out.empty() ? out : "<ul class=\"plain\">" + out + "</ul>";
}

std::string banner_section(const Page& page) {
  const Assessment& result = page.assessment;
  const Provenance& provenance = page.report.provenance;
  std::string subject =
      provenance.config_name.empty() ? "unnamed configuration" : provenance.config_name;
  for (const std::string& dtype : provenance.dtypes) {
    subject += " · " + dtype;
  }
  if (!provenance.recipe.empty()) {
    subject += " · recipe " + provenance.recipe;
  }
  return fmt::format(
             R"(<section id="verdict" class="banner {}" aria-label="Verdict">
<p class="subject">{} · seed {}</p>
<h1><svg class="i" aria-hidden="true"><use href="#i-{}"/></svg>{}</h1>
<p class="why">{}.</p>
)",
             colour_class(result.verdict), escaped(shortened(subject, 200)), provenance.seed,
             colour_class(result.verdict), headline(page),
             escaped(shortened(without_full_stop(result.why), 600))) +
         warnings(page.report) + leads(page) + "</section>\n";
}

std::string counts_section(const Page& page) {
  const Counts& counts = page.assessment.counts;
  std::string out = "<section id=\"counts\" aria-label=\"Counts\">\n<dl class=\"counts\">\n";
  const auto add = [&](std::string_view name, std::int64_t value, std::string_view colour = {}) {
    out += fmt::format(
        R"(<div{}><dt>{}</dt><dd>{}</dd></div>)",
        value == 0 || colour.empty() ? std::string() : fmt::format(R"( class="{}")", colour), name,
        value);
  };
  // Always there: a zero is a statement too.
  add("suite runs expected", counts.expected);
  add("ran", counts.run);
  add("passed", counts.passed, "pass");
  add("failed", counts.failed, "fail");
  add("inconclusive", counts.inconclusive, "warn");
  add("skipped", counts.skipped, "skip");
  add("crashed", counts.crashed, "odd");
  add("timed out", counts.timed_out, "odd");
  const std::array<std::pair<std::string_view, std::int64_t>, 5> rare = {{
      {"out of memory", counts.out_of_memory},
      {"bad input", counts.bad_input},
      {"harness faults", counts.harness_faults},
      {page.report.complete ? "no outcome" : "not reached", counts.missing},
      {"not expected", counts.unexpected},
  }};
  for (const auto& [name, value] : rare) {
    if (value != 0) {
      add(name, value, "odd");
    }
  }
  add("cases", counts.cases);
  add("comparisons", counts.comparisons);
  if (counts.comparisons_failed != 0) {
    add("comparisons failed", counts.comparisons_failed, "fail");
  }
  if (page.report.resumed_cases != 0) {
    add("cases resumed", page.report.resumed_cases);
  }
  return out + "</dl>\n</section>\n";
}

}  // namespace sparity::reports
