#pragma once

#include "reports/assessment.h"
#include "reports/report.h"
#include "src/core/strict_json.h"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string>

namespace sparity::reports {

/// What a report.json may hold. One of a version before 1.3 in which every comparison of a suite
/// fails: 200 MB have been seen.
inline constexpr core::JsonLimits kReportLimits = {
    .max_bytes = 1'000'000'000, .max_depth = 12, .max_values = 60'000'000};

/// report.json as reports/schema/report-1.3.schema.json describes it: the report's members by name,
/// in alphabetical order, and beside them what `assess` derives from them (`verdict`, `exit_code`,
/// `counts`, `why`, `first_divergence`) for readers that don't derive it themselves. Cases are
/// spelled as in the journal (judge/record_json.h). NaN and infinities are "nan", "inf", "-inf".
nlohmann::json to_json(const Report& report);

/// The derived members among them, as an object of their own.
nlohmann::json to_json(const Assessment& assessment);

/// Strict: an unknown or missing field, a wrong type, another schema version, a suite that is
/// listed twice, or a verdict, exit code, first divergence or count that is not what the records
/// give throws (exit code 5) with `source`, the JSON pointer, what was expected and what was found.
Report report_from_json(const nlohmann::json& document, const std::string& source);

/// Writes report.json atomically. Bytes that are not UTF-8 become U+FFFD.
void write_report(const Report& report, const std::filesystem::path& path);

/// Reads a report.json within `kReportLimits`.
Report read_report(const std::filesystem::path& path);

}  // namespace sparity::reports
