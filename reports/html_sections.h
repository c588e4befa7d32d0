#pragma once

#include "reports/html_parts.h"

#include <cstddef>
#include <string>

namespace sparity::reports {

// The page's sections, in order. Each gives a <section> with an id, or nothing when it has nothing
// to say.

/// Verdict, why in one sentence, first divergent tensor, known mistakes that start there, rerun.
std::string banner_section(const Page& page);
/// How many of what: every suite run counted once.
std::string counts_section(const Page& page);
/// The suite table: verdict, worst headroom, dtype, time.
std::string suites_section(const Page& page);
/// One card for each case and suite run that did not pass. The first cases carry all the evidence;
/// the rest fold up to a line that opens to what failed and how to rerun it.
std::string failures_section(const Page& page);
/// Errors along the model, for every case that was traced and whose card does not show them.
std::string layers_section(const Page& page);
/// Top-k and routing choices.
std::string choices_section(const Page& page);
/// Headrooms of gradients by parameter, worst first.
std::string gradients_section(const Page& page);
/// The gradient-path grid: which term of the loss reaches which parameters, expected and found.
std::string paths_section(const Page& page);
/// Losses along training runs, as truth, baseline and candidate had them.
std::string curves_section(const Page& page);
/// The KL loss under each of its options, and how close each came to what is allowed.
std::string kl_readings_section(const Page& page);
/// What the run claims to exercise, and whether it did.
std::string exercised_section(const Page& page);
/// Every case, folded by suite run, with links that stay; skips and their reasons.
std::string cases_section(const Page& page);
/// With what the figures were made.
std::string provenance_section(const Page& page);

/// Whether a suite run failed in a way that none of its cases tells, and so has a card of its own.
bool has_own_card(const Page& page, const SuiteRow& row);

/// Whether a case has a card that shows all the evidence, plots among it: the first of those that
/// did not pass.
bool has_evidence(const Page& page, std::size_t index);

/// The chart of one traced case: local headroom above, free-run errors below, and their table.
std::string trace_html(const judge::CaseRecord& record, const std::string& id);

/// The evidence of one comparison: gates, worst elements, magnitudes, map of the error.
std::string comparison_html(const judge::Comparison& comparison, const std::string& id);

/// What is known to be wrong when a case first diverges at `tensor`; empty when nothing is.
std::string mistakes_html(const Report& report, const judge::CaseRecord& record,
                          const std::string& tensor);

}  // namespace sparity::reports
