#include "src/core/error.h"
#include "src/tensors/input_file.h"
#include "src/tensors/recorder.h"
#include "suites/cases/bound_model.h"
#include "suites/cli/build_info.h"
#include "suites/cli/command.h"
#include "suites/cli/forced_values.h"
#include "suites/cli/overwriting.h"
#include "suites/cli/peak_memory.h"
#include "suites/cli/run_output.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
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
  ForcedFile force;
  int threads = 0;
  int repeat = 0;
  bool grads = false;
  bool json = false;
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void check_options(const RunOptions& options) {
  SPARITY_CHECK_INPUT(
      options.device == "cpu",
      "--device: expected cpu (this build has no CUDA path), found " + options.device);
  const std::filesystem::path folder = std::filesystem::absolute(options.out).parent_path();
  SPARITY_CHECK_INPUT(
      std::filesystem::is_directory(folder),
      fmt::format("--out: expected a file in a folder that exists, found {}", options.out));
  refuse_overwriting(
      options.out,
      {{"--model", options.model}, {"--inputs", options.inputs}, {"--force", options.force.path}});
}

bool wants_loss(const RunOptions& options, const tensors::Inputs& inputs) {
  SPARITY_CHECK_INPUT(
      options.loss != "lm" || inputs.labels.defined(),
      fmt::format("{}: 'labels': expected for --loss lm, found none", options.inputs));
  SPARITY_CHECK_INPUT(
      !options.grads || (inputs.labels.defined() && options.loss != "none"),
      fmt::format("--grads: expected a loss to differentiate: 'labels' in {} and --loss lm",
                  options.inputs));
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

/// Seconds of `pass`: `first` was run before; --repeat runs it once to warm up, then N times.
template <typename RunPass>
std::vector<double> timed(const RunOptions& options, double first, RunPass pass) {
  std::vector<double> seconds;
  for (int i = 0; i <= options.repeat && options.repeat > 0; ++i) {
    const Clock::time_point start = Clock::now();
    pass();
    if (i > 0) {
      seconds.push_back(seconds_since(start));
    }
  }
  return seconds.empty() ? std::vector<double>{first} : seconds;
}

std::map<std::string, std::string> metadata_of(const RunOptions& options,
                                               const core::ModelConfig& config,
                                               const tensors::Inputs& inputs,
                                               const tensors::Recorder& recorder) {
  return {{"format", "pt"},
          {"sparity_version", std::string(kVersion)},
          {"config_hash", core::config_hash(config)},
          {"inputs_hash", tensors::inputs_hash(inputs)},
          {"impl", options.impl},
          {"dtype", std::string(core::to_string(options.dtype))},
          {"recipe", std::string(core::to_string(options.recipe))},
          {"attention", std::string(core::to_string(options.attention))},
          {"trace_unmatched", fmt::format("{}", fmt::join(recorder.unmatched_globs(), ","))}};
}

/// What was computed, and how long it took.
struct Computed {
  at::Tensor logits;
  std::optional<cases::LossValue> loss;
  std::map<std::string, at::Tensor> gradients;  // by parameter
  nlohmann::json seconds;
};

Computed compute(const RunOptions& options, const cases::BoundModel& model,
                 const tensors::Inputs& inputs, tensors::Recorder& recorder) {
  const bool with_loss = wants_loss(options, inputs);
  const tensors::Probe probe(&recorder);
  const auto forward = [&] { return model.forward(inputs, options.attention); };
  Computed result;
  const Clock::time_point start = Clock::now();
  if (options.grads) {
    cases::GradientRun run = model.backward(inputs, options.attention, probe);
    const double first = seconds_since(start);
    result.logits = run.logits;
    result.loss = run.loss;
    result.gradients = std::move(run.parameters);
    result.seconds["forward_backward_seconds"] =
        timed(options, first, [&] { model.backward(inputs, options.attention); });
    return result;
  }
  result.logits = model.forward(inputs, options.attention, probe);
  result.seconds["forward_seconds"] = timed(options, seconds_since(start), forward);
  if (with_loss) {
    result.loss = options.impl == "src" ? cases::candidate_loss(result.logits, inputs)
                                        : cases::reference_loss(result.logits, inputs);
  }
  return result;
}

/// Every parameter that no gradient reaches, in checkpoint order.
std::vector<std::string> without_gradient(const core::TensorManifest& manifest,
                                          const std::map<std::string, at::Tensor>& gradients) {
  std::vector<std::string> names;
  for (const core::ParameterSpec& parameter : manifest.parameters()) {
    if (!gradients.contains(parameter.name)) {
      names.push_back(parameter.name);
    }
  }
  return names;
}

/// The traced pass. With forced values, what it refuses is their fault: their file is named.
Computed compute_forced(const RunOptions& options, const cases::BoundModel& model,
                        const tensors::Inputs& inputs, tensors::Recorder& recorder) {
  try {
    return compute(options, model, inputs, recorder);
  } catch (const core::Error& error) {
    if (options.force.path.empty() || error.code() != core::ExitCode::kBadInput) {
      throw;
    }
    SPARITY_FAIL_INPUT(fmt::format("{}: {}", options.force.path, error.what()));
  }
}

RunOutput output_of(const RunOptions& options, const Computed& computed,
                    const tensors::Recorder& recorder) {
  RunOutput output(options.dtype);
  output.add("logits", computed.logits);
  if (computed.loss) {
    output.add("lm_loss", computed.loss->loss);
    output.add("loss", computed.loss->loss);
  }
  for (const auto& [name, gradient] : computed.gradients) {
    output.add(tensors::gradient_name(name), gradient);
  }
  for (const auto& [name, value] : recorder.captured()) {
    output.add(std::string(kTracePrefix) + name, value);
  }
  return output;
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
  wants_loss(options, inputs);
  const cases::BoundModel model = bind(options, checkpoint);
  const double load_seconds = seconds_since(start);
  warn(checkpoint.warnings);
  warn(inputs.warnings);

  tensors::Recorder recorder(options.trace);
  force_from_file(options.force, checkpoint.config, inputs, recorder);
  const Computed computed = compute_forced(options, model, inputs, recorder);
  check_all_used(options.force, recorder);
  for (const std::string& glob : recorder.unmatched_globs()) {
    warn({fmt::format("--trace '{}' matches nothing", glob)});
  }

  std::map<std::string, std::string> metadata =
      metadata_of(options, checkpoint.config, inputs, recorder);
  nlohmann::json summary = computed.seconds;
  if (computed.loss) {
    metadata["ignored_labels"] = std::to_string(computed.loss->ignored);
    summary["lm_loss"] = summary["loss"] = computed.loss->loss.item().toDouble();
    summary["ignored_labels"] = computed.loss->ignored;
  }
  if (options.grads) {
    const std::vector<std::string> none = without_gradient(checkpoint.manifest, computed.gradients);
    metadata["no_grad"] = fmt::format("{}", fmt::join(none, ","));
    summary["no_grad"] = none;
  }
  const RunOutput output = output_of(options, computed, recorder);
  start = Clock::now();
  output.write(options.out, metadata);
  for (const std::string& name : output.non_finite()) {
    warn({fmt::format("'{}' holds values that are not finite", name)});
  }
  if (options.json) {
    summary["load_seconds"] = load_seconds;
    summary["write_seconds"] = seconds_since(start);
    summary["peak_resident_bytes"] = peak_resident_bytes();
    summary["threads"] = at::get_num_threads();
    summary["non_finite"] = output.non_finite();
    summary["out"] = options.out;
    fmt::print("{}\n", summary.dump(2));
  }
  return core::ExitCode::kPass;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  const auto options = std::make_shared<RunOptions>();
  CLI::App& command = *app.add_subcommand(
      "run", "One forward pass of a checkpoint, and with --grads one back, to a safetensors file");
  command.add_option("--model", options->model, "Checkpoint folder")
      ->required()
      ->check(not_empty())
      ->type_name("DIR");
  command
      .add_option(
          "--inputs", options->inputs,
          "safetensors with input_ids I64 [B,S]; optional attention_mask, position_ids, labels")
      ->required()
      ->check(not_empty())
      ->type_name("FILE");
  command.add_option("--out", options->out, "Where logits, loss and traces go")
      ->required()
      ->check(not_empty())
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
  command.add_flag("--grads", options->grads,
                   "Also write the loss's gradient of every parameter, as grad.<parameter>");
  command
      .add_option("--trace", options->trace,
                  "Also write the intermediates that this glob matches, as trace.<name>; with "
                  "--grads their gradients are named grad.<name>")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command
      .add_option("--force", options->force.path,
                  "Replace the intermediates that this file holds, named trace.<name>")
      ->check(not_empty())
      ->type_name("FILE");
  command
      .add_option("--force-names", options->force.names,
                  "Only those of the file that this glob matches")
      ->type_name("GLOB");
  add_threads_option(command, options->threads);
  command.add_option("--repeat", options->repeat, "Time N further passes after a warm-up")
      ->check(CLI::Range(1, 100000))
      ->type_name("N");
  command.add_flag("--json", options->json, "Print seconds, memory and losses as JSON");
  command.footer(example(
      "sparity run --model DIR --inputs in.safetensors --out out.safetensors --trace '*indexer*'"));
  command.callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace sparity::cli
