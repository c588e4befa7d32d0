#pragma once

#include "suites/judge/record.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>

namespace sparity::judge {

/// Of the form below.
inline constexpr std::string_view kRecordSchemaVersion = "1.3";
/// Those before, which a reader accepts too: in 1.2 every comparison is an object with all of its
/// figures; 1.1 is without `curves` and `kl_readings`, 1.0 without `paths` besides.
inline constexpr std::string_view kRecordSchema12 = "1.2";
inline constexpr std::string_view kRecordSchema11 = "1.1";
inline constexpr std::string_view kRecordSchema10 = "1.0";

/// Keys are the members' names, plus `schema_version`; keys come in alphabetical order.
/// Floating-point numbers are JSON numbers that read back to the same bits; NaN and infinities are
/// "nan", "inf", "-inf". Comparisons are condensed to columns (comparisons_json.h). Dtypes are
/// spelled as on the command line, verdicts and divergence classes as their to_string. An absent
/// error map is null.
nlohmann::json to_json(const CaseRecord& record);
nlohmann::json to_json(const SelectionSummary& summary);
nlohmann::json to_json(const TracePoint& point);
nlohmann::json to_json(const GradientPath& path);
nlohmann::json to_json(const LossCurve& curve);
nlohmann::json to_json(const KlReading& reading);
nlohmann::json to_json(const Condition& condition);

/// Strict: an unknown or missing field, a wrong type, another schema version, a gate whose `ok` is
/// not what its two sides say, a hexadecimal twin that differs, tallies of a path that don't count
/// the same parameters, a curve whose steps don't rise or whose sides are not as long, or a KL
/// reading that names no comparison of its record throws (exit code 5) with `source`, the JSON
/// pointer, what was expected and what was found.
CaseRecord case_record_from_json(const nlohmann::json& document, const std::string& source);

}  // namespace sparity::judge
