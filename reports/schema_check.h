#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace sparity::reports {

/// Violations of a JSON Schema (draft 2020-12), each "<JSON pointer>: expected …, found …"; empty
/// when the document is valid, at most 20 otherwise.
///
/// Understood are the keywords that reports/schema uses: type, enum, const, properties, required,
/// additionalProperties, items, minItems, maxItems, minimum, maximum, anyOf,
/// $ref to "#/$defs/…", and the annotations $schema, $id, $defs, title, description. Any other
/// keyword throws (exit code 6): a rule that isn't checked is not one. Recurses as deep as the
/// document, which strict_json.h bounds.
std::vector<std::string> schema_violations(const nlohmann::json& schema,
                                           const nlohmann::json& document);

}  // namespace sparity::reports
