#pragma once

#include "suites/judge/record.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace sparity::judge {

/// The comparisons of a record, `condensed`, as columns: a run makes tens of thousands of them, and
/// nearly all hold comfortably.
///
/// - `tensors`, `shared`: one each. A name is the first `shared` parts between dots of the name
///   before it, and what `tensors` holds: after "layers.0.norm", 2 and "mlp" are "layers.0.mlp".
/// - `kind_of`: one each, an index into `kinds`, of which each has `dtype`, `shape` and `gates`, an
///   index into `gate_sets`.
/// - `gate_sets`: `names` in order; `advisory`, indices of those that don't block; `zero`, indices
///   of those whose sides are both 0.
/// - `sides`: lhs and rhs of every other gate of every comparison, one after the other. `ok` is
///   formed from them (`make_gate`).
/// - `evidence`: of every comparison that did not hold comfortably, by its index `comparison`, the
///   members that records have for it, and in `gates`, by index `gate`, `ok`, `note` and sides in
///   hexadecimal of every gate that is not comfortable or has a note.
nlohmann::json comparisons_to_json(const std::vector<Comparison>& comparisons);

/// Strict: besides what record_json.h says, columns of unlike lengths, an index out of range, and
/// evidence that is missing, or is there for what held comfortably, throw.
std::vector<Comparison> comparisons_from_json(const nlohmann::json& object,
                                              const std::string& source,
                                              const std::string& pointer);

/// One comparison as records before version 1.3 have it: an object of its own, every gate with
/// hexadecimal twins and note. `undecided` may be missing.
Comparison comparison_before_13(const nlohmann::json& object, const std::string& source,
                                const std::string& pointer);

}  // namespace sparity::judge
