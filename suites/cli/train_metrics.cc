#include "suites/cli/train_metrics.h"

#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/json_fields.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::cli {

namespace {

constexpr std::uint64_t kMaxBytes = 8'000'000'000;

std::string hex(double value) { return fmt::format("{:a}", value); }

void put(nlohmann::json& object, const std::string& name, double value) {
  object[name] = value;
  object[name + "_hex"] = hex(value);
}

void put(nlohmann::json& object, const std::string& name, const std::optional<double>& value) {
  if (value) {
    put(object, name, *value);
  }
}

void put_losses(nlohmann::json& object, const train::LossReport& loss) {
  put(object, "loss", loss.total);
  put(object, "lm_loss", loss.lm);
  put(object, "kl_loss", loss.kl);
  put(object, "balance_loss", loss.balance);
  if (!loss.kl_layers.empty()) {
    object["kl_layers"] = loss.kl_layers;
    std::vector<std::string> words;
    std::ranges::transform(loss.kl_layers, std::back_inserter(words), hex);
    object["kl_layers_hex"] = words;
  }
}

/// Lines of an earlier file that a run after `steps_done` steps does not write again.
std::string kept_lines(const std::filesystem::path& path, std::int64_t steps_done) {
  std::string kept;
  if (!std::filesystem::exists(path)) {
    return kept;
  }
  const std::string text = core::read_text_file(path, kMaxBytes);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) {
      break;  // a line that a killed run did not finish
    }
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    const nlohmann::json object = core::parse_json(line, path.string());
    core::JsonFields fields(object, path.string());
    if (fields.integer("step", 0, 0, INT64_MAX) <= steps_done) {
      kept += std::string(line) + "\n";
    }
    begin = end + 1;
  }
  return kept;
}

}  // namespace

nlohmann::json step_metrics(const train::StepReport& report, double seconds,
                            std::int64_t peak_bytes) {
  nlohmann::json line = {{"step", report.step},
                         {"tokens", report.tokens},
                         {"labels", report.labels},
                         {"seconds", seconds},
                         {"peak_bytes", peak_bytes}};
  put_losses(line, report.loss);
  put(line, "grad_norm", report.gradient_norm);
  for (const auto& [group, norm] : report.group_norms) {
    put(line, "grad_norm_" + group, norm);
  }
  for (const auto& [group, rate] : report.learning_rates) {
    put(line, "lr_" + group, rate);
  }
  if (!report.without_gradient.empty()) {
    line["without_gradient"] = report.without_gradient;
  }
  return line;
}

nlohmann::json validation_metrics(std::int64_t step, const train::LossReport& loss,
                                  double seconds) {
  nlohmann::json losses;
  put_losses(losses, loss);
  return {{"step", step}, {"validation", losses}, {"seconds", seconds}};
}

MetricsFile::MetricsFile(const std::filesystem::path& path, std::int64_t steps_done) : path_(path) {
  core::write_file_atomically(path, kept_lines(path, steps_done));
  file_.open(path, std::ios::app);
}

void MetricsFile::append(const nlohmann::json& line) {
  file_ << line.dump() << "\n" << std::flush;
  if (!file_) {
    core::throw_error(core::ExitCode::kCrashed,
                      fmt::format("{}: cannot write a line of metrics", path_.string()), __FILE__,
                      __LINE__);
  }
}

}  // namespace sparity::cli
