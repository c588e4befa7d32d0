#pragma once

#include "src/core/error.h"
#include "src/core/forward_options.h"
#include "suites/cases/model_source.h"

#include <string>
#include <vector>

namespace sparity::cli {

struct CheckOptions {
  std::vector<std::string> suites;  // empty: all
  cases::ModelSource source;
  std::vector<std::string> dtypes;  // empty: float32 and bfloat16
  core::Recipe recipe = core::Recipe::kOfficial;
  std::string device = "cpu";
  std::string filter = "*";
  std::string fault;
  std::string out = "sparity-report";
  bool resume = false;
  int jobs = 0;  // 0: one for each core, as far as memory goes
  int timeout_seconds = 1800;
  bool json = false;
};

/// The main job: runs every suite in every dtype, each its own process, journals into
/// `out`/results.jsonl, and writes report.json, index.html and junit.xml there. Suites that crash
/// or hang are named and the rest still runs. The longest suites start first; the report has them
/// in their own order. Returns the report's exit code.
core::ExitCode run_check(CheckOptions options);

/// How many suites may run at a time: `jobs`, or where none is asked for one for each core, as far
/// as memory goes. Throws (exit code 5), with the figures, when so many float64 truths of this
/// model and these inputs, at least one, would not fit in the memory that is free.
int fitting_jobs(const CheckOptions& options, const core::ModelConfig& config, std::int64_t rows,
                 std::int64_t tokens);

}  // namespace sparity::cli
