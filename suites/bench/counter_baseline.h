#pragma once

#include "suites/bench/resource_counts.h"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace sparity::bench {

/// One pass that is counted.
struct CountedPass {
  std::string config;  // an embedded one
  std::int64_t tokens = 0;
  std::string dtype;
  bool backward = false;
  ResourceCounts counts = {};

  /// "fork-small, 512 tokens, bfloat16, forward and backward".
  std::string name() const;
};

/// Counts every pass of the list: `tiny` and `fork-small`, one length each, float32 and bfloat16,
/// forward alone and with backward. Sets LibTorch to one thread.
std::vector<CountedPass> count_all();

/// The committed form: {"schema_version": "1.0", "passes": [{"config", "tokens", "dtype", "pass":
/// "forward" or "forward_backward", "allocations", "bytes", "peak_bytes", "gemm_flops"}]}.
nlohmann::json to_json(const std::vector<CountedPass>& passes);

/// Strict: another member, a missing one, a wrong type or value throws (exit code 5) with file,
/// place, what was expected and what was found.
std::vector<CountedPass> read_counters(const std::filesystem::path& path);

/// A sentence for every count that is more than 1 % above or below its committed value, and for
/// every pass that only one side has.
std::vector<std::string> differences(const std::vector<CountedPass>& found,
                                     const std::vector<CountedPass>& committed);

}  // namespace sparity::bench
