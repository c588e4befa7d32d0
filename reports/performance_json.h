#pragma once

#include "reports/performance.h"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string_view>

namespace sparity::reports {

/// What a file of performance figures says it is, under "kind".
inline constexpr std::string_view kBenchKind = "sparity bench";
inline constexpr std::string_view kAgainstTransformersKind = "against transformers";
inline constexpr std::string_view kBenchSchemaVersion = "1.1";
inline constexpr std::string_view kAgainstTransformersSchemaVersion = "1.0";

/// Keys are the members' names, plus `kind` and `schema_version`; absent figures are null.
nlohmann::json to_json(const BenchRun& bench);

/// Whether a document says that it holds performance figures of either kind.
bool is_performance(const nlohmann::json& document);

/// Puts the document's figures into `performance`. Strict: an unknown or missing member, a wrong
/// type, a negative or non-finite number, another version, or figures of a kind that is already
/// there throws (exit code 5) with `source`, the JSON pointer, what was expected and what was
/// found.
void add_performance(const nlohmann::json& document, const std::string& source,
                     Performance& performance);

}  // namespace sparity::reports
