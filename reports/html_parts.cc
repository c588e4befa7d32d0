#include "reports/html_parts.h"

#include "reports/html_style.h"
#include "reports/text.h"
#include "src/core/error.h"
#include "src/core/file_io.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <utility>

namespace sparity::reports {

namespace {

using judge::Verdict;

/// A value within a fragment: letters, digits, '.', '_' and '-' stay; what had others, or is long,
/// is told apart by a hash.
std::string fragment_value(std::string_view value) {
  constexpr std::size_t kLongest = 64;
  std::string out(value.substr(0, kLongest));
  for (char& letter : out) {
    const bool plain = std::isalnum(static_cast<unsigned char>(letter)) != 0 &&
                       static_cast<unsigned char>(letter) < 0x80;
    letter = plain || letter == '.' || letter == '-' ? letter : '_';
  }
  return out == value ? out : out + "-" + core::sha256_hex(value).substr(0, 8);
}

std::string identity_hash(const judge::CaseRecord& record) {
  std::string identity;
  for (const std::string& part : {record.suite, record.name, record.config, record.config_hash,
                                  record.dtype, record.recipe, record.device}) {
    identity += fmt::format("{}:{},", part.size(), part);
  }
  return core::sha256_hex(identity + fmt::format("{}", record.seed)).substr(0, 8);
}

std::string status(std::string_view colour, std::string_view shape, std::string_view word) {
  return fmt::format(
      R"(<span class="st {}"><svg class="i" aria-hidden="true"><use href="#i-{}"/></svg>{}</span>)",
      colour, shape, word);
}

std::string_view shape_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return "pass";
    case Verdict::kFail:
      return "fail";
    case Verdict::kInconclusive:
      return "warn";
    case Verdict::kSkip:
      return "skip";
    default:
      return "odd";
  }
}

}  // namespace

std::string document_html(std::string_view title, std::string_view skip_link,
                          std::string_view body) {
  return fmt::format(
             R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{}</title>
<style>
{}</style>
</head>
<body>
{}
)",
             title, stylesheet(), skip_link) +
         status_shapes() + std::string(body) + "</body>\n</html>\n";
}

std::string suite_anchor(const SuiteId& id) {
  std::string out = "suite=" + fragment_value(id.suite);
  if (!id.dtype.empty()) {
    out += "&amp;dtype=" + fragment_value(id.dtype);
  }
  if (id.device != "cpu") {
    out += "&amp;device=" + fragment_value(id.device);
  }
  return out;
}

std::string suite_card_anchor(const SuiteId& id) { return suite_anchor(id) + "&amp;outcome"; }

std::vector<std::string> case_anchors(const Report& report) {
  std::vector<std::string> anchors;
  std::map<std::string, int> uses;
  for (const judge::CaseRecord& record : report.cases) {
    std::string anchor = fmt::format("suite={}&amp;case={}&amp;dtype={}&amp;key={}",
                                     fragment_value(record.suite), fragment_value(record.name),
                                     fragment_value(record.dtype), identity_hash(record));
    const int use = ++uses[anchor];
    anchors.push_back(use == 1 ? anchor : fmt::format("{}&amp;again={}", anchor, use));
  }
  return anchors;
}

std::string_view colour_class(Verdict verdict) { return shape_of(verdict); }

std::string status_html(Verdict verdict) {
  return status(colour_class(verdict), shape_of(verdict), words(verdict));
}

std::string status_html(const SuiteRow& row, bool complete) {
  if (row.run == nullptr) {
    return complete ? status("odd", "missing", "no outcome")
                    : status("warn", "missing", "not reached");
  }
  return status_html(row.verdict);
}

std::string gate_status_html(const judge::Gate& gate) {
  if (gate.ok) {
    return status("pass", "pass", "holds");
  }
  return gate.blocking ? status("fail", "fail", "fails") : status("warn", "warn", "reported");
}

std::string status_shapes() {
  return R"svg(<svg class="shapes" aria-hidden="true" width="0" height="0">
<symbol id="i-pass" viewBox="0 0 16 16"><circle cx="8" cy="8" r="6.6" fill="none" stroke="currentColor" stroke-width="1.8"/><path d="M4.8 8.3l2.2 2.2 4.2-4.6" fill="none" stroke="currentColor" stroke-width="1.8"/></symbol>
<symbol id="i-fail" viewBox="0 0 16 16"><path d="M8 .6L15.4 8 8 15.4.6 8z" fill="currentColor"/><path d="M5.6 5.6l4.8 4.8m0-4.8l-4.8 4.8" class="cut" stroke-width="1.7"/></symbol>
<symbol id="i-warn" viewBox="0 0 16 16"><path d="M8 1.4l7 12.8H1z" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linejoin="round"/><path d="M8 6v4m0 1.4v1.4" stroke="currentColor" stroke-width="1.6"/></symbol>
<symbol id="i-skip" viewBox="0 0 16 16"><circle cx="8" cy="8" r="6.6" fill="none" stroke="currentColor" stroke-width="1.4" stroke-dasharray="2.6 2.2"/><path d="M5 8h6" stroke="currentColor" stroke-width="1.8"/></symbol>
<symbol id="i-odd" viewBox="0 0 16 16"><path d="M1.6 1.6h12.8v12.8H1.6z" fill="currentColor"/><path d="M8 4v5m0 1.6v1.8" class="cut" stroke-width="1.8"/></symbol>
<symbol id="i-missing" viewBox="0 0 16 16"><path d="M2 2h12v12H2z" fill="none" stroke="currentColor" stroke-width="1.6" stroke-dasharray="3 2.2"/></symbol>
</svg>
)svg";
}

std::string number_html(double value) {
  if (!std::isfinite(value)) {
    return fmt::format(R"(<span class="odd">{}</span>)", number(value));
  }
  return fmt::format(R"(<data value="{:.17g}">{}</data>)", value, number(value));
}

std::string precise_html(double value) {
  return std::isfinite(value) ? fmt::format(R"(<data value="{0:.17g}">{0:.9g}</data>)", value)
                              : number_html(value);
}

std::string headroom_html(double headroom) {
  // The mark stands at 70 %; four decades fill the rest.
  const bool over = !(headroom <= 1);
  const double reach = std::isfinite(headroom) ? std::log10(std::max(headroom, 1.0)) / 4 : 1;
  const double share = over ? 70 + 30 * std::clamp(reach, 0.03, 1.0) : 70 * std::max(headroom, 0.0);
  return fmt::format(
      R"(<span class="hr"><svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" )"
      R"(aria-hidden="true"><rect class="track" width="100" height="10"/>)"
      R"(<rect class="{}" width="{:.1f}" height="10"/><path class="mark" d="M70 0v10"/></svg>{}</span>)",
      over ? "over" : "within", share,
      std::isfinite(headroom)
          ? fmt::format(R"(<data value="{:.17g}">{}</data>)", headroom, ratio(headroom))
          : fmt::format(R"(<span class="fail">{}</span>)", ratio(headroom)));
}

std::optional<std::string_view> differentiated(std::string_view tensor) {
  constexpr std::string_view kGradient = "grad.";
  return tensor.starts_with(kGradient) ? std::optional(tensor.substr(kGradient.size()))
                                       : std::nullopt;
}

std::string command_html(std::string_view command) {
  return fmt::format(
      R"(<pre class="cmd" tabindex="0"><code>{}</code></pre>)",
      escaped(command.empty() ? std::string_view("not recorded") : command, Lines::kMany));
}

Table::Table(std::string_view name, std::vector<Column> columns) : columns_(std::move(columns)) {
  open_ = fmt::format(
      R"(<div class="box" role="region" tabindex="0" aria-label="{}"><table><thead><tr>)",
      escaped(name));
  for (const Column& column : columns_) {
    open_ += fmt::format(R"(<th scope="col"{}>{}</th>)",
                         column.align == Align::kNumber ? R"( class="n")" : "", column.title);
  }
  open_ += "</tr></thead><tbody>\n";
}

void Table::row(const std::vector<std::string>& cells, std::string_view id) {
  SPARITY_CHECK(
      cells.size() == columns_.size(),
      fmt::format("a row of {} cells in a table of {} columns", cells.size(), columns_.size()));
  body_ += id.empty() ? std::string("<tr>") : fmt::format(R"(<tr id="{}">)", id);
  for (std::size_t index = 0; index < cells.size(); ++index) {
    const char* kind = columns_[index].align == Align::kNumber ? R"( class="n")" : "";
    body_ += index == 0 ? fmt::format(R"(<th scope="row"{}>{}</th>)", kind, cells[index])
                        : fmt::format("<td{}>{}</td>", kind, cells[index]);
  }
  body_ += "</tr>\n";
  ++rows_;
}

std::string Table::html() const { return open_ + body_ + "</tbody></table></div>\n"; }

std::string details_html(std::string_view summary, std::string_view content, bool open,
                         std::string_view id) {
  return fmt::format("<details{}{}><summary>{}</summary>\n{}</details>\n",
                     id.empty() ? std::string() : fmt::format(R"( id="{}")", id),
                     open ? " open" : "", summary, content);
}

}  // namespace sparity::reports
