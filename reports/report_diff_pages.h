#pragma once

#include "reports/report_diff.h"

#include <string>

namespace sparity::reports {

/// "Nothing changed", "2 suite runs and 12 cases got worse", "2 verdicts changed, none for the
/// worse", "No verdict changed".
std::string diff_headline(const ReportDiff& diff);

/// How far paired tensors moved, what the floor is and how many moves were below it, in sentences.
std::string diff_moves(const ReportDiff& diff);

/// That the reports answer different questions, and in what; empty where they don't.
std::string diff_caution(const ReportDiff& diff);

/// A setting's value as it is shown: of a hash, the beginning.
std::string shown_setting(const std::string& value);

/// A page: one file, no script, no request. Lists are cut after 300 rows and say so.
std::string diff_page(const ReportDiff& diff);

/// GitHub's Markdown, fit for a comment on a pull request: lists are cut after 20 rows and say so,
/// and no name in it can act as markup, mention or link: every one stands in a code span.
std::string diff_markdown(const ReportDiff& diff);

}  // namespace sparity::reports
