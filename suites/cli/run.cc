#include "src/core/safetensors.h"
#include "src/tensors/at_dtype.h"
#include "src/tensors/recorder.h"
#include "suites/cases/bound_model.h"
#include "suites/cli/build_info.h"
#include "suites/cli/command.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/ScalarType.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <fnmatch.h>
#include <map>
#include <string>
#include <sys/resource.h>
#include <vector>

namespace sparity::cli {

namespace {

constexpr std::string_view kTracePrefix = "trace.";

struct RunOptions {
  std::string model;
  std::string inputs;
  std::string out;
  std::string impl = "src";
  core::Dtype dtype = core::Dtype::kF32;
  core::Recipe recipe = core::Recipe::kOfficial;
  std::string device = "cpu";
  core::AttentionMode attention = core::AttentionMode::kSparse;
  std::string loss;  // empty: lm when there are labels
  std::vector<std::string> trace;
  std::string force;
  std::string force_names = "*";
  int threads = 0;
  int repeat = 0;
  bool json = false;
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

void force_from_file(const RunOptions& options, tensors::Recorder& recorder) {
  const std::string& path = options.force;
  const core::SafetensorsFile file(path);
  std::size_t forced = 0;
  for (const auto& [name, entry] : file.tensors()) {
    if (fnmatch(options.force_names.c_str(), name.c_str(), 0) != 0) {
      continue;
    }
    SPARITY_CHECK_INPUT(
        name.starts_with(kTracePrefix),
        fmt::format("{}: tensor '{}': expected names that start with 'trace.'; choose "
                    "with --force-names",
                    path, name));
    at::Tensor value = at::empty(entry.shape, tensors::to_scalar_type(entry.dtype));
    file.read(name, {static_cast<std::byte*>(value.mutable_data_ptr()), value.nbytes()});
    recorder.force(name.substr(kTracePrefix.size()), value);
    ++forced;
  }
  SPARITY_CHECK_INPUT(forced > 0, fmt::format("{}: no tensor that --force-names '{}' matches", path,
                                              options.force_names));
}

/// What a run leaves: named tensors in the file's dtypes, kept alive until written.
class OutputFile {
 public:
  explicit OutputFile(core::Dtype dtype)
      : floating_(dtype == core::Dtype::kF64 ? at::kDouble : at::kFloat) {}

  void add(const std::string& name, const at::Tensor& value) {
    const at::Tensor stored =
        (value.is_floating_point() ? value.to(floating_) : value).contiguous();
    if (stored.is_floating_point() && !is_score(name) &&
        !at::isfinite(stored).all().item().toBool()) {
      non_finite_.push_back(name);
    }
    tensors_.emplace_back(name, stored);
  }

  void write(const std::string& path, std::map<std::string, std::string> metadata) const {
    std::vector<core::TensorBytes> bytes;
    for (const auto& [name, tensor] : tensors_) {
      bytes.push_back({name, tensors::to_dtype(tensor.scalar_type()), tensor.sizes().vec(),
                       tensors::bytes_of(tensor)});
    }
    metadata["non_finite"] = fmt::format("{}", fmt::join(non_finite_, ","));
    core::write_safetensors(path, std::move(bytes), metadata);
  }

  const std::vector<std::string>& non_finite() const { return non_finite_; }

 private:
  /// Names that hold −inf by definition: masked scores, and the lse of rows without a key.
  static bool is_score(const std::string& name) {
    return name.ends_with(".indexer.scores") || name.ends_with(".lse");
  }

  at::ScalarType floating_;
  std::vector<std::pair<std::string, at::Tensor>> tensors_;
  std::vector<std::string> non_finite_;
};

void check_options(const RunOptions& options) {
  SPARITY_CHECK_INPUT(
      options.device == "cpu",
      "--device: expected cpu (this build has no CUDA path), found " + options.device);
  const std::filesystem::path folder = std::filesystem::absolute(options.out).parent_path();
  SPARITY_CHECK_INPUT(std::filesystem::is_directory(folder),
                      fmt::format("--out: folder {} does not exist", folder.string()));
}

bool wants_loss(const RunOptions& options, const tensors::Inputs& inputs) {
  SPARITY_CHECK_INPUT(
      options.loss != "lm" || inputs.labels.defined(),
      fmt::format("{}: 'labels': expected for --loss lm, found none", options.inputs));
  return options.loss != "none" && inputs.labels.defined();
}

cases::BoundModel bind(const RunOptions& options, const tensors::Checkpoint& checkpoint) {
  return options.impl == "src"
             ? cases::BoundModel::candidate(checkpoint, options.dtype, options.recipe)
             : cases::BoundModel::baseline(checkpoint, options.dtype, options.recipe);
}

void warn(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) {
    fmt::print(stderr, "sparity: warning: {}\n", warning);
  }
}

/// The timed forward passes of --repeat: one warm-up, then N.
std::vector<double> timed_forwards(const RunOptions& options, const cases::BoundModel& model,
                                   const tensors::Inputs& inputs) {
  std::vector<double> seconds;
  for (int i = 0; i <= options.repeat; ++i) {
    const Clock::time_point start = Clock::now();
    model.forward(inputs, options.attention);
    if (i > 0) {
      seconds.push_back(seconds_since(start));
    }
  }
  return seconds;
}

std::map<std::string, std::string> metadata_of(const RunOptions& options,
                                               const core::ModelConfig& config,
                                               const tensors::Recorder& recorder) {
  return {{"format", "pt"},
          {"sparity_version", std::string(kVersion)},
          {"config_hash", core::config_hash(config)},
          {"impl", options.impl},
          {"dtype", std::string(core::to_string(options.dtype))},
          {"recipe", std::string(core::to_string(options.recipe))},
          {"attention", std::string(core::to_string(options.attention))},
          {"trace_unmatched", fmt::format("{}", fmt::join(recorder.unmatched_globs(), ","))}};
}

core::ExitCode run(const RunOptions& options) {
  check_options(options);
  if (options.threads > 0) {
    at::set_num_threads(options.threads);
  }
  const at::NoGradGuard no_gradients;
  Clock::time_point start = Clock::now();
  const tensors::Checkpoint checkpoint = tensors::load_checkpoint(options.model);
  const tensors::Inputs inputs = tensors::read_inputs(options.inputs, checkpoint.config);
  const bool with_loss = wants_loss(options, inputs);
  const cases::BoundModel model = bind(options, checkpoint);
  const double load_seconds = seconds_since(start);
  warn(checkpoint.warnings);
  warn(inputs.warnings);

  tensors::Recorder recorder(options.trace);
  if (!options.force.empty()) {
    force_from_file(options, recorder);
  }
  start = Clock::now();
  const at::Tensor logits = model.forward(inputs, options.attention, tensors::Probe(&recorder));
  std::vector<double> forward_seconds = {seconds_since(start)};
  for (const std::string& name : recorder.unused_forces()) {
    SPARITY_FAIL_INPUT(fmt::format("{}: 'trace.{}': no intermediate of that name to replace",
                                   options.force, name));
  }
  for (const std::string& glob : recorder.unmatched_globs()) {
    warn({fmt::format("--trace '{}' matches nothing", glob)});
  }

  OutputFile file(options.dtype);
  std::map<std::string, std::string> metadata = metadata_of(options, checkpoint.config, recorder);
  nlohmann::json summary;
  file.add("logits", logits);
  if (with_loss) {
    const cases::LossValue loss = options.impl == "src" ? cases::candidate_loss(logits, inputs)
                                                        : cases::reference_loss(logits, inputs);
    file.add("lm_loss", loss.loss);
    file.add("loss", loss.loss);
    metadata["ignored_labels"] = std::to_string(loss.ignored);
    summary["lm_loss"] = summary["loss"] = loss.loss.item().toDouble();
    summary["ignored_labels"] = loss.ignored;
  }
  for (const auto& [name, value] : recorder.captured()) {
    file.add(std::string(kTracePrefix) + name, value);
  }
  if (options.repeat > 0) {
    forward_seconds = timed_forwards(options, model, inputs);
  }
  start = Clock::now();
  file.write(options.out, metadata);
  for (const std::string& name : file.non_finite()) {
    warn({fmt::format("'{}' holds values that are not finite", name)});
  }
  if (options.json) {
    summary["load_seconds"] = load_seconds;
    summary["forward_seconds"] = forward_seconds;
    summary["write_seconds"] = seconds_since(start);
    summary["peak_resident_bytes"] = peak_resident_bytes();
    summary["threads"] = at::get_num_threads();
    summary["non_finite"] = file.non_finite();
    summary["out"] = options.out;
    fmt::print("{}\n", summary.dump(2));
  }
  return core::ExitCode::kPass;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  const auto options = std::make_shared<RunOptions>();
  CLI::App& command =
      *app.add_subcommand("run", "One forward pass of a checkpoint, to a safetensors file");
  command.add_option("--model", options->model, "Checkpoint folder")->required()->type_name("DIR");
  command
      .add_option(
          "--inputs", options->inputs,
          "safetensors with input_ids I64 [B,S]; optional attention_mask, position_ids, labels")
      ->required()
      ->type_name("FILE");
  command.add_option("--out", options->out, "Where logits, loss and traces go")
      ->required()
      ->type_name("FILE");
  command.add_option("--impl", options->impl, "Which implementation runs")
      ->check(CLI::IsMember({"src", "reference"}))
      ->capture_default_str();
  add_dtype_option(command, options->dtype);
  add_recipe_option(command, options->recipe);
  command.add_option("--device", options->device, "Where it runs")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  add_attention_option(command, options->attention);
  command
      .add_option("--loss", options->loss, "Loss to compute (default: lm when there are labels)")
      ->check(CLI::IsMember({"none", "lm"}));
  command
      .add_option("--trace", options->trace,
                  "Also write the intermediates that this glob matches, as trace.<name>")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command
      .add_option("--force", options->force,
                  "Replace the intermediates that this file holds, named trace.<name>")
      ->type_name("FILE");
  command
      .add_option("--force-names", options->force_names,
                  "Only those of the file that this glob matches")
      ->type_name("GLOB");
  add_threads_option(command, options->threads);
  command.add_option("--repeat", options->repeat, "Time N further forward passes after a warm-up")
      ->check(CLI::Range(1, 100000))
      ->type_name("N");
  command.add_flag("--json", options->json, "Print seconds, memory and losses as JSON");
  command.footer(example(
      "sparity run --model DIR --inputs in.safetensors --out out.safetensors --trace '*indexer*'"));
  command.callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace sparity::cli
