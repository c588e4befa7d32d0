#pragma once

#include "reports/report.h"

#include <string>
#include <string_view>

namespace sparity::selftest {

/// A gate that holds, or fails, with the given sides.
judge::Gate sample_gate(double lhs, double rhs);

/// A comparison of one gate; a failing one carries worst elements, buckets and an error map.
judge::Comparison sample_comparison(const std::string& tensor, bool passes);

/// A case of one comparison, settled by the judge.
judge::CaseRecord sample_case(const reports::SuiteId& id, const std::string& name, bool passes);

/// A complete report in which "norm", "rope" and "indexer" ran in float32 and bfloat16, two cases
/// each, and passed.
reports::Report passing_report();

/// The same with indexer/bfloat16's second case diverging at layers.1.self_attn.indexer.q, a trace,
/// a selection with a flip, gradient paths of which one is not as expected, a loss curve,
/// a reading of the KL loss, a condition that was
/// not exercised and did not have to be, a skipped suite, and a known mistake whose place is
/// "indexer.q".
reports::Report failing_report();

/// Whether `part` is somewhere in `text`.
bool contains(std::string_view text, std::string_view part);

/// What a tensor's name may hold: quotes, tags, an ANSI escape, a bidirectional override, a NUL, a
/// byte that is no UTF-8, an XML section's end and an entity.
std::string hostile_name();

/// `passing_report` with every text in it replaced by `text`.
reports::Report report_made_of(const std::string& text);

}  // namespace sparity::selftest
