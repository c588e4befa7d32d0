#pragma once

#include "src/train/trainer.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>

namespace sparity::cli {

/// A step as a line of metrics.jsonl: every floating number twice, in decimal and as `<name>_hex`.
nlohmann::json step_metrics(const train::StepReport& report, double seconds,
                            std::int64_t peak_bytes);

/// Losses on the validation rows after `step`.
nlohmann::json validation_metrics(std::int64_t step, const train::LossReport& loss, double seconds);

/// metrics.jsonl of a run: one line a step or validation, on disk as far as the system goes before
/// the next step begins.
class MetricsFile {
 public:
  /// Keeps what an earlier file says of steps up to `steps_done`. Throws (exit code 5) for a file
  /// that is no such thing.
  MetricsFile(const std::filesystem::path& path, std::int64_t steps_done);

  /// Throws (exit code 4) when the line cannot be written.
  void append(const nlohmann::json& line);

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace sparity::cli
