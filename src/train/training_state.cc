#include "src/train/training_state.h"

#include "src/core/atomic_folder.h"
#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/json_fields.h"
#include "src/core/safetensors.h"
#include "src/core/strict_json.h"
#include "src/tensors/at_dtype.h"
#include "src/train/adapter_rules.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <optional>

namespace sparity::train {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kMostSteps = 1'000'000'000'000;
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kRecordFile = "trainer.json";

/// N of "step-N", or nothing for any other name.
std::optional<std::int64_t> step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  std::int64_t step = 0;
  const char* end = name.data() + name.size();
  if (!name.starts_with("step-") || name.size() == 5) {
    return std::nullopt;
  }
  const auto [stopped, error] = std::from_chars(name.data() + 5, end, step);
  return error == std::errc() && stopped == end ? std::optional(step) : std::nullopt;
}

/// A parameter of its master's dtype is its own master: only narrower ones have another.
bool has_master(const at::Tensor& parameter, const AdamWState& state) {
  return parameter.scalar_type() != state.master.scalar_type();
}

void write_optimizer(const Trainer& trainer, const fs::path& path) {
  std::vector<core::TensorBytes> tensors;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    tensors.push_back({name, tensors::to_dtype(tensor.scalar_type()), tensor.sizes().vec(),
                       tensors::bytes_of(tensor)});
  };
  for (const OptimizerGroup& group : trainer.groups()) {
    for (const auto& [name, state] : group.optimizer.state()) {
      if (has_master(group.optimizer.parameters().at(name), state)) {
        add(name + ".master", state.master);
      }
      add(name + ".exp_avg", state.exp_avg);
      add(name + ".exp_avg_sq", state.exp_avg_sq);
      tensors.push_back(
          {name + ".step", core::Dtype::kI64, {}, std::as_bytes(std::span(&state.step, 1))});
    }
  }
  core::write_safetensors(path, std::move(tensors), {{"format", "pt"}});
}

/// Tensors of an optimizer file, each taken once.
class OptimizerFile {
 public:
  explicit OptimizerFile(const fs::path& path) : file_(path) {}

  at::Tensor take(const std::string& name, const at::Tensor& like) {
    ++taken_;
    const core::TensorEntry& entry = file_.at(name);
    SPARITY_CHECK_INPUT(
        tensors::to_scalar_type(entry.dtype) == like.scalar_type() &&
            entry.shape == like.sizes().vec(),
        fmt::format("{}: '{}': expected the shape of its parameter and {}, found another",
                    file_.path().string(), name,
                    core::safetensors_name(tensors::to_dtype(like.scalar_type()))));
    at::Tensor tensor = at::empty(entry.shape, like.options());
    file_.read(name, {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()});
    // Squares and counts, and nothing that is not finite: what AdamW takes on without a look.
    const bool never_negative = name.ends_with(".exp_avg_sq") || name.ends_with(".step");
    SPARITY_CHECK_INPUT(
        at::isfinite(tensor).all().item().toBool() &&
            (!never_negative || tensor.ge(0).all().item().toBool()),
        fmt::format("{}: '{}': expected finite numbers{}, found others", file_.path().string(),
                    name, never_negative ? " from 0 on" : ""));
    return tensor;
  }

  std::int64_t take_step(const std::string& name) {
    return take(name, at::empty({}, at::kLong)).item().toLong();
  }

  /// Throws unless every tensor was taken.
  void finish() const {
    SPARITY_CHECK_INPUT(taken_ == file_.tensors().size(),
                        fmt::format("{}: expected {} tensors, found {}", file_.path().string(),
                                    taken_, file_.tensors().size()));
  }

 private:
  core::SafetensorsFile file_;
  std::size_t taken_ = 0;
};

/// A double as text that says every bit.
std::string hex(double value) { return fmt::format("{:a}", value); }

/// PEFT's place for a single adapter called "default"; each of several has a folder of its own.
fs::path adapter_folder(const fs::path& step, const std::string& name, std::size_t adapters) {
  return name == "default" && adapters == 1 ? step : step / name;
}

nlohmann::json json_of(const Trainer& trainer, const StepReport& last,
                       const std::string& data_sha256, const std::string& frozen_sha256) {
  nlohmann::json adapters = nlohmann::json::array();
  for (const tensors::Adapter& adapter : trainer.adapters()) {
    adapters.push_back({{"name", adapter.name}, {"config", core::to_json(adapter.config)}});
  }
  return {{"format", kFormat},
          {"adapters", adapters},
          {"step", trainer.steps_done()},
          {"options", to_json(trainer.options())},
          {"data_sha256", data_sha256},
          {"frozen_sha256", frozen_sha256},
          {"threads", at::get_num_threads()},
          {"loss", last.loss.total},
          {"loss_hex", hex(last.loss.total)},
          {"grad_norm", last.gradient_norm},
          {"grad_norm_hex", hex(last.gradient_norm)}};
}

/// "/lr: expected 0.001, found 0.002" of the first member in which they differ; empty when none.
std::string difference(const nlohmann::json& expected, const nlohmann::json& found) {
  const auto text = [](const nlohmann::json& object, const std::string& name) {
    return object.contains(name) ? core::describe(object.at(name)) : std::string("none");
  };
  // A stage decides which other options there are, so that it is what differs.
  if (text(expected, "stage") != text(found, "stage")) {
    return fmt::format("/options/stage: expected {} again, found {}", text(expected, "stage"),
                       text(found, "stage"));
  }
  nlohmann::json names = expected;
  names.update(found);
  for (const auto& [name, ignored] : names.items()) {
    if (text(expected, name) != text(found, name)) {
      return fmt::format("/options/{}: expected {} again, found {}", name, text(expected, name),
                         text(found, name));
    }
  }
  return "";
}

AdapterRecord read_adapter(const nlohmann::json& member, const std::string& source,
                           const std::string& pointer) {
  core::JsonFields fields(member, source, pointer);
  AdapterRecord record;
  record.name = fields.text("name").value_or("");
  check_adapter_name(record.name, source + ": " + pointer + "/name");
  const nlohmann::json* config = fields.find("config");
  if (config == nullptr) {
    fields.fail("config", "an object", "none");
  }
  record.config = core::read_adapter_config(*config, source);
  return record;
}

}  // namespace

fs::path save_training_state(const Trainer& trainer, const StepReport& last,
                             const std::string& data_sha256, const fs::path& out) {
  const std::string frozen_sha256 = trainer.check_frozen();
  const fs::path destination = out / fmt::format("step-{}", trainer.steps_done());
  core::AtomicFolder folder(destination);
  for (const tensors::Adapter& adapter : trainer.adapters()) {
    tensors::save_adapter(adapter,
                          adapter_folder(folder.path(), adapter.name, trainer.adapters().size()));
  }
  if (trainer.adapters().empty()) {
    tensors::save_checkpoint(trainer.checkpoint(), folder.path());
  }
  write_optimizer(trainer, folder.path() / kOptimizerFile);
  core::write_file_atomically(folder.path() / kRecordFile,
                              json_of(trainer, last, data_sha256, frozen_sha256).dump(2) + "\n");
  folder.commit();
  return destination;
}

std::optional<std::int64_t> latest_step(const fs::path& folder) {
  std::optional<std::int64_t> latest;
  std::error_code failure;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, failure)) {
    const std::optional<std::int64_t> step = step_of(entry.path());
    if (step && fs::exists(entry.path() / kRecordFile)) {
      latest = std::max(latest.value_or(*step), *step);
    }
  }
  return latest;
}

bool saved_nothing_yet(const fs::path& folder) {
  std::error_code failure;
  const fs::directory_iterator entries(folder, failure);
  return !failure && std::ranges::all_of(entries, [](const fs::directory_entry& entry) {
    const fs::path name = entry.path().filename();
    return name == kMetricsFile || (name.extension() == ".tmp" && step_of(name.stem()));
  });
}

fs::path find_training_state(const fs::path& path) {
  if (fs::exists(path / kRecordFile)) {
    return path;
  }
  const std::optional<std::int64_t> latest = latest_step(path);
  SPARITY_CHECK_INPUT(latest, fmt::format("{}: expected a folder step-N with {}, or one that holds "
                                          "such folders; found none",
                                          path.string(), kRecordFile));
  return path / fmt::format("step-{}", *latest);
}

RunRecord read_run_record(const fs::path& folder) {
  const std::string source = (folder / kRecordFile).string();
  const nlohmann::json document = core::read_json(folder / kRecordFile);
  core::JsonFields fields(document, source);
  if (fields.integer("format", 0, 0, kMostSteps) != kFormat) {
    fields.fail("format", std::to_string(kFormat), "another");
  }
  RunRecord record;
  record.step = fields.integer("step", 0, 0, kMostSteps);
  record.threads = fields.integer("threads", 0, 0, 1 << 20);
  record.data_sha256 = fields.text("data_sha256").value_or("");
  record.frozen_sha256 = fields.text("frozen_sha256").value_or("");
  if (const nlohmann::json* adapters = fields.find_value("adapters")) {
    if (!adapters->is_array()) {
      fields.fail("adapters", "a list", core::describe(*adapters));
    }
    for (std::size_t i = 0; i < adapters->size(); ++i) {
      record.adapters.push_back(
          read_adapter((*adapters)[i], source, fmt::format("/adapters/{}", i)));
    }
  }
  const nlohmann::json* options = fields.find("options");
  if (options == nullptr || !options->is_object()) {
    fields.fail("options", "an object", options == nullptr ? "none" : core::describe(*options));
  }
  core::JsonFields members(*options, source, "/options");
  record.options = defaults_of(stage_from_string(members.text("stage").value_or(""), source));
  apply(*options, source, record.options);
  return record;
}

std::vector<tensors::Adapter> read_adapters(const RunRecord& record, const fs::path& folder,
                                            const core::TensorManifest& manifest) {
  std::vector<tensors::Adapter> adapters;
  for (const AdapterRecord& recorded : record.adapters) {
    const fs::path own = adapter_folder(folder, recorded.name, record.adapters.size());
    tensors::Adapter adapter = tensors::load_adapter(own, manifest, recorded.name);
    core::AdapterLayout layout(recorded.config, manifest, (folder / kRecordFile).string(),
                               core::Overlap::kFirstCounts);
    const auto name_of = [](const core::AdapterTensor& tensor) { return tensor.name; };
    SPARITY_CHECK_INPUT(
        std::ranges::equal(layout.tensors(), adapter.layout.tensors(), {}, name_of, name_of),
        fmt::format("{}: expected the tensors of {}'s adapter '{}', found others", own.string(),
                    (folder / kRecordFile).string(), recorded.name));
    adapter.config = recorded.config;
    adapter.layout = std::move(layout);
    adapters.push_back(std::move(adapter));
  }
  return adapters;
}

void check_same_run(const RunRecord& record, const TrainOptions& options,
                    const std::string& data_sha256, const fs::path& folder) {
  const std::string source = (folder / kRecordFile).string();
  const std::string differs =
      difference(deciding_options(record.options), deciding_options(options));
  SPARITY_CHECK_INPUT(differs.empty(), source + ": " + differs);
  SPARITY_CHECK_INPUT(record.data_sha256 == data_sha256,
                      fmt::format("{}: /data_sha256: expected the token file of the run ({}), "
                                  "found another ({})",
                                  source, record.data_sha256, data_sha256));
  SPARITY_CHECK_INPUT(record.step < options.steps,
                      fmt::format("{}: /step: expected fewer than --steps {}, found {}", source,
                                  options.steps, record.step));
}

void restore(Trainer& trainer, const RunRecord& record, const fs::path& folder) {
  SPARITY_CHECK_INPUT(
      trainer.check_frozen() == record.frozen_sha256,
      fmt::format("{}: /frozen_sha256: expected the run's frozen parameters, found others in {}",
                  (folder / kRecordFile).string(),
                  record.adapters.empty() ? "the checkpoint" : "--model"));
  OptimizerFile file(folder / kOptimizerFile);
  std::map<std::string, AdamWState> states;
  for (const OptimizerGroup& group : trainer.groups()) {
    for (const auto& [name, own] : group.optimizer.state()) {
      AdamWState state;
      // Without a file of its own, a master is its parameter, from which it was just copied.
      state.master = has_master(group.optimizer.parameters().at(name), own)
                         ? file.take(name + ".master", own.master)
                         : own.master;
      state.exp_avg = file.take(name + ".exp_avg", own.exp_avg);
      state.exp_avg_sq = file.take(name + ".exp_avg_sq", own.exp_avg_sq);
      state.step = file.take_step(name + ".step");
      states.emplace(name, std::move(state));
    }
  }
  file.finish();
  trainer.restore(record.step, states);
}

}  // namespace sparity::train
