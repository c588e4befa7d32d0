#include "src/core/tensor_manifest.h"
#include "suites/cli/check_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

namespace sparity::cli {

namespace {

/// MemAvailable of /proc/meminfo in bytes; "unlimited" where it can't be read.
double available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  double kibibytes = 0;
  for (std::string unit; file >> key >> kibibytes; std::getline(file, unit)) {
    if (key == "MemAvailable:") {
      return kibibytes * 1024;
    }
  }
  return std::numeric_limits<double>::infinity();
}

/// Numbers that one traced forward pass keeps: every named intermediate of every layer.
double traced_numbers(const core::ModelConfig& c, double tokens, double row_tokens) {
  const auto count = [](std::int64_t value) { return static_cast<double>(value); };
  const double per_layer =
      7 * count(c.hidden_size) + count(c.q_lora_rank) + count(c.kv_lora_rank) +
      count(c.num_attention_heads) * (count(c.qk_head_dim()) + count(c.v_head_dim) + 1) +
      count(c.index_n_heads) * count(c.index_head_dim + 1) + count(c.index_head_dim) + row_tokens +
      count(std::min(c.index_topk, static_cast<std::int64_t>(row_tokens))) +
      count(c.n_routed_experts);
  return tokens * (per_layer * count(c.num_hidden_layers) + 2 * count(c.vocab_size));
}

}  // namespace

int fitting_jobs(const CheckOptions& options, const core::ModelConfig& config, std::int64_t rows,
                 std::int64_t tokens) {
  const auto parameters = static_cast<double>(core::TensorManifest(config).parameter_count());
  const double traced =
      traced_numbers(config, static_cast<double>(rows * tokens), static_cast<double>(tokens));
  // Weights: as read, rounded, and widened to float64 for the truth. Traces: truth in float64,
  // baseline and candidate in at most float32, and the judge's widened copies of the largest
  // tensor.
  const double bytes =
      parameters * (4 + 4 + 8) + traced * (8 + 4 + 4) +
      4 * 8 * static_cast<double>(rows * tokens * std::max(config.vocab_size, tokens));
  const double available = available_bytes();
  const int least = std::max(1, options.jobs);
  const double needed = bytes * least;
  constexpr double kGibibyte = 1024.0 * 1024.0 * 1024.0;
  SPARITY_CHECK_INPUT(
      needed <= available,
      fmt::format(
          "{}: the float64 truth of {:.0f} parameters and {} x {} tokens needs about {:.1f} GiB, "
          "{:.1f} GiB are free; use fewer layers, fewer tokens or fewer --jobs",
          options.source.name(), parameters, rows, tokens, needed / kGibibyte,
          available / kGibibyte));
  if (options.jobs > 0) {
    return options.jobs;
  }
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return std::max(1, static_cast<int>(std::min<double>(cores, std::floor(available / bytes))));
}

}  // namespace sparity::cli
