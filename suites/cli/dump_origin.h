#pragma once

#include "suites/cli/dump.h"
#include "suites/cli/dump_set.h"

#include <cstdint>
#include <optional>

namespace sparity::cli {

/// How many choices of keys and experts a run was made to follow. Not set where its metadata do not
/// say; throws (exit code 5) where they do not say a number.
std::optional<std::int64_t> forced_choices(const Dump& dump);

/// Who made the values of truth and baseline, as their metadata tell:
///
/// - `impl` is `reference`, and nothing but choices was forced, or exit code 5. Where nothing is
///   said of either, --trust-baseline takes the file at its word, and a condition says so; `src`
///   and forced values are refused all the same. Of the candidate forced values are refused too.
/// - Where choices were forced, a condition says whether the file was the candidate's. That is
///   provenance: what was chosen is read from the tensors.
void check_origin(const CompareOptions& options, DumpSet& set);

}  // namespace sparity::cli
