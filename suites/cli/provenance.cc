#include "suites/cli/provenance.h"

#include "src/core/fault.h"
#include "src/core/file_io.h"
#include "src/core/safetensors.h"
#include "suites/cli/build_info.h"
#include "suites/cli/inspection.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <torch/version.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>
#include <thread>

namespace sparity::cli {

namespace {

/// /proc/self/cmdline with spaces.
std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!text.empty() && text.back() == '\0') {
    text.pop_back();
  }
  std::ranges::replace(text, '\0', ' ');
  return text;
}

/// The inputs file, or seeded rows once it is known that they fit; settles how many suites run at a
/// time.
tensors::Inputs open_inputs(CheckOptions& options, const core::ModelConfig& config) {
  if (options.source.inputs.empty()) {
    fitting_jobs(options, config, 2, cases::default_tokens(config));
  }
  tensors::Inputs inputs = cases::open_inputs(options.source, config);
  options.jobs = fitting_jobs(options, config, inputs.input_ids.size(0), inputs.input_ids.size(1));
  return inputs;
}

void check_weights(const std::string& folder) {
  const std::string complaint = inspect(folder).complaint();
  SPARITY_CHECK_INPUT(complaint.empty(),
                      fmt::format("{}: expected tensors that fit the config, found {}; `sparity "
                                  "inspect` lists all",
                                  folder, complaint));
}

/// SHA-256 over every shard's SHA-256, in order of name; of seeded weights, over what decides them.
std::string weights_sha256(const CheckOptions& options, const std::string& config_json) {
  if (options.source.model.empty()) {
    return core::sha256_hex(fmt::format("seeded {} {}", options.source.seed, config_json));
  }
  const core::ShardedSafetensors files = core::ShardedSafetensors::open(options.source.model);
  std::string digests;
  for (const core::SafetensorsFile& shard : files.shards()) {
    digests += core::sha256_of_file(shard.path());
  }
  return core::sha256_hex(digests);
}

}  // namespace

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) {
      return line.substr(line.find(':') + 2);
    }
  }
  return "unknown";
}

void fill_build(reports::Report& report) {
  report.tool_version = kVersion;
  report.started_utc = utc_now();
  report.command_line = command_line();
  reports::Provenance& p = report.provenance;
  p.git_commit = kGitCommit;
  p.compiler = kCompiler;
  p.build_type = kBuildType;
  p.build_flags = kBuildFlags;
  p.libtorch_version = TORCH_VERSION;
  p.faults_compiled_in = !core::fault_register().empty();
  p.cpu_model = processor_name();
  p.threads = std::thread::hardware_concurrency();
}

void fill_provenance(CheckOptions& options, reports::Report& report) {
  const core::ParsedConfig parsed = cases::read_config(options.source);
  const tensors::Inputs inputs = open_inputs(options, parsed.config);
  if (!options.source.model.empty()) {
    check_weights(options.source.model);
  }
  for (const std::string& warning : parsed.warnings) {
    fmt::print(stderr, "sparity: warning: {}\n", warning);
  }
  for (const std::string& warning : inputs.warnings) {
    fmt::print(stderr, "sparity: warning: {}\n", warning);
  }
  fill_build(report);
  reports::Provenance& p = report.provenance;
  p.planted_fault = options.fault;
  p.config_json = core::to_json(parsed.config).dump(2);
  p.config_name = options.source.name();
  p.config_hash = core::config_hash(parsed.config);
  p.weights_sha256 = weights_sha256(options, p.config_json);
  p.seed = options.source.seed;
  p.dtypes =
      options.dtypes.empty() ? std::vector<std::string>{"float32", "bfloat16"} : options.dtypes;
  p.recipe = std::string(core::to_string(options.recipe));
}

}  // namespace sparity::cli
