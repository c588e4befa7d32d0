#pragma once

#include "reports/assessment.h"
#include "suites/judge/record.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::reports {

/// A whole page: one file, no script, no request. `title` and `body` are HTML, `skip_link` the link
/// that stands before everything else.
std::string document_html(std::string_view title, std::string_view skip_link,
                          std::string_view body);

/// What every section of the page is made from.
struct Page {
  const Report& report;
  const Assessment& assessment;
  std::vector<std::string> case_ids;  // of Report::cases, unique in the page
};

/// The fragment that leads to a suite run: "suite=rope&dtype=float32", with the device when it is
/// not the CPU. Escaped for attributes, as all that follows.
std::string suite_anchor(const SuiteId& id);

/// The fragment that leads to the card of a suite run's own failure.
std::string suite_card_anchor(const SuiteId& id);

/// Fragments that lead to the cases: "suite=rope&case=half-split&dtype=float32&key=1f0c9a3e", the
/// key being a hash of suite, name, config, dtype, recipe, device and seed, so that a link stays
/// good from run to run. A case recorded twice gets a number behind.
std::vector<std::string> case_anchors(const Report& report);

/// Status as word, shape and colour.
std::string status_html(judge::Verdict verdict);
std::string status_html(const SuiteRow& row, bool complete);
/// The same for a gate that holds or fails.
std::string gate_status_html(const judge::Gate& gate);
/// CSS class of a status' colour: "pass", "fail", "warn", "skip", "odd".
std::string_view colour_class(judge::Verdict verdict);

/// The shapes that status_html refers to; once a page.
std::string status_shapes();

/// A number as text within <data value="…">, so that no digit is lost.
std::string number_html(double value);
/// The same with nine significant digits, for numbers that stand beside each other.
std::string precise_html(double value);
/// A headroom as number and bar: linear up to the mark at 1, logarithmic beyond.
std::string headroom_html(double headroom);

/// What "grad.layers.3" is the gradient of; nothing for other names.
std::optional<std::string_view> differentiated(std::string_view tensor);

/// A command line, selected as a whole by one click.
std::string command_html(std::string_view command);

/// A table in a box of its own that scrolls sideways, reachable by keyboard. Cells are HTML.
class Table {
 public:
  enum class Align { kText, kNumber };
  struct Column {
    std::string title;
    Align align = Align::kText;
  };

  /// `name` is read out by screen readers.
  Table(std::string_view name, std::vector<Column> columns);

  /// One cell for each column; the first is the row's heading.
  void row(const std::vector<std::string>& cells, std::string_view id = {});
  bool empty() const { return rows_ == 0; }
  std::string html() const;

 private:
  std::string open_;
  std::string body_;
  std::vector<Column> columns_;
  std::size_t rows_ = 0;
};

/// <details> with HTML as summary and content.
std::string details_html(std::string_view summary, std::string_view content, bool open = false,
                         std::string_view id = {});

}  // namespace sparity::reports
