#include "src/core/error.h"
#include "src/tensors/input_file.h"
#include "src/tensors/recorder.h"
#include "suites/cases/bound_model.h"
#include "suites/cli/adapter_options.h"
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
#include <string>
#include <utility>
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
  std::vector<std::string> adapters;
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
  std::vector<Source> read = {
      {"--model", options.model}, {"--inputs", options.inputs}, {"--force", options.force.path}};
  for (const AdapterArgument& argument : adapter_arguments(options.adapters, "--adapter")) {
    read.push_back({"--adapter", argument.path});
  }
  refuse_overwriting(options.out, read);
}

/// Which losses are computed: without --loss the LM loss where there are labels.
core::Objective wanted(const RunOptions& options, const tensors::Inputs& inputs) {
  core::Objective objective;
  objective.lm = options.loss == "lm" || options.loss == "lm+kl" ||
                 (options.loss.empty() && inputs.labels.defined());
  if (options.loss == "kl" || options.loss == "lm+kl") {
    objective.kl = core::KlOptions();
  }
  SPARITY_CHECK_INPUT(!objective.lm || inputs.labels.defined(),
                      fmt::format("{}: 'labels': expected for --loss {}, found none",
                                  options.inputs, options.loss));
  SPARITY_CHECK_INPUT(
      !options.grads || objective.lm || objective.kl,
      fmt::format("--grads: expected a loss to differentiate: 'labels' in {}, or --loss kl",
                  options.inputs));
  return objective;
}

cases::BoundModel bind(const RunOptions& options, const tensors::Checkpoint& checkpoint,
                       const std::vector<tensors::Adapter>& adapters) {
  return options.impl == "src"
             ? cases::BoundModel::candidate(checkpoint, options.dtype, options.recipe, adapters)
             : cases::BoundModel::baseline(checkpoint, options.dtype, options.recipe, adapters);
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
                                               const std::vector<tensors::Adapter>& adapters,
                                               const tensors::Recorder& recorder) {
  return {{"format", "pt"},
          {"sparity_version", std::string(kVersion)},
          {"config_hash", core::config_hash(config)},
          {"inputs_hash", tensors::inputs_hash(inputs)},
          {"adapters_hash", tensors::adapters_hash(adapters)},
          {"impl", options.impl},
          {"dtype", std::string(core::to_string(options.dtype))},
          {"recipe", std::string(core::to_string(options.recipe))},
          {"attention", std::string(core::to_string(options.attention))},
          {"trace_unmatched", fmt::format("{}", fmt::join(recorder.unmatched_globs(), ","))}};
}

/// What was computed, and how long it took.
struct Computed {
  cases::ObjectiveRun run;  // its losses undefined where not wanted
  nlohmann::json seconds;
};

/// One pass with the KL loss among its losses.
cases::ObjectiveRun run_objective(const RunOptions& options, const cases::BoundModel& model,
                                  const tensors::Inputs& inputs, const core::Objective& objective,
                                  const tensors::Probe& probe) {
  return model.objective(inputs, options.attention, objective, probe, options.grads);
}

/// One pass whose loss, if any, is made from the logits alone.
cases::ObjectiveRun run_plain(const RunOptions& options, const cases::BoundModel& model,
                              const tensors::Inputs& inputs, const core::Objective& objective,
                              const tensors::Probe& probe) {
  cases::ObjectiveRun run;
  cases::LossValue loss;
  if (options.grads) {
    cases::GradientRun found = model.backward(inputs, options.attention, probe);
    run.logits = found.logits;
    run.parameters = std::move(found.parameters);
    loss = found.loss;
  } else {
    run.logits = model.forward(inputs, options.attention, probe);
    if (objective.lm) {
      loss = options.impl == "src" ? cases::candidate_loss(run.logits, inputs)
                                   : cases::reference_loss(run.logits, inputs);
    }
  }
  run.loss = run.lm_loss = loss.loss;
  run.labels_ignored = loss.ignored;
  return run;
}

Computed compute(const RunOptions& options, const cases::BoundModel& model,
                 const tensors::Inputs& inputs, tensors::Recorder& recorder) {
  const core::Objective objective = wanted(options, inputs);
  const auto pass = [&](const tensors::Probe& probe) {
    return objective.kl ? run_objective(options, model, inputs, objective, probe)
                        : run_plain(options, model, inputs, objective, probe);
  };
  const Clock::time_point start = Clock::now();
  Computed computed{pass(tensors::Probe(&recorder)), {}};
  computed.seconds[options.grads ? "forward_backward_seconds" : "forward_seconds"] =
      timed(options, seconds_since(start), [&] { pass({}); });
  return computed;
}

/// Every parameter and adapter's tensor that no gradient reaches, in checkpoint order.
std::vector<std::string> without_gradient(const core::TensorManifest& manifest,
                                          const std::vector<tensors::Adapter>& adapters,
                                          const std::map<std::string, at::Tensor>& gradients) {
  std::vector<std::string> names;
  for (const tensors::Adapter& adapter : adapters) {
    for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
      const std::string name = tensors::name_in_memory(tensor.name, adapter.name);
      if (!gradients.contains(name)) {
        names.push_back(name);
      }
    }
  }
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

/// The losses that were computed, by name.
std::vector<std::pair<std::string, at::Tensor>> losses_of(const cases::ObjectiveRun& run) {
  std::vector<std::pair<std::string, at::Tensor>> losses = {
      {"lm_loss", run.lm_loss}, {"kl_loss", run.kl_loss}, {"loss", run.loss}};
  std::erase_if(losses, [](const auto& entry) { return !entry.second.defined(); });
  return losses;
}

RunOutput output_of(const RunOptions& options, const Computed& computed,
                    const tensors::Recorder& recorder) {
  RunOutput output(options.dtype);
  const cases::ObjectiveRun& run = computed.run;
  output.add("logits", run.logits);
  for (const auto& [name, loss] : losses_of(run)) {
    output.add(name, loss);
  }
  for (const auto& [name, gradient] : run.parameters) {
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
  wanted(options, inputs);
  const std::vector<tensors::Adapter> adapters =
      read_adapters(options.adapters, checkpoint.manifest);
  const cases::BoundModel model = bind(options, checkpoint, adapters);
  const double load_seconds = seconds_since(start);
  warn(checkpoint.warnings);
  warn(inputs.warnings);

  tensors::Recorder recorder(options.trace);
  const std::vector<std::string> forced =
      force_from_file(options.force, checkpoint.config, inputs, recorder);
  const Computed computed = compute_forced(options, model, inputs, recorder);
  check_all_used(options.force, recorder);
  for (const std::string& glob : recorder.unmatched_globs()) {
    warn({fmt::format("--trace '{}' matches nothing", glob)});
  }

  std::map<std::string, std::string> metadata =
      metadata_of(options, checkpoint.config, inputs, adapters, recorder);
  metadata.merge(forced_metadata(options.force, forced));
  nlohmann::json summary = computed.seconds;
  for (const auto& [name, loss] : losses_of(computed.run)) {
    summary[name] = loss.item().toDouble();
  }
  if (computed.run.lm_loss.defined()) {
    metadata["ignored_labels"] = std::to_string(computed.run.labels_ignored);
    summary["ignored_labels"] = computed.run.labels_ignored;
  }
  if (computed.run.kl_loss.defined()) {
    const at::Tensor sums = computed.run.kl_layer_sums.to(at::kDouble).contiguous();
    summary["kl_layer_sums"] = std::vector<double>(sums.const_data_ptr<double>(),
                                                   sums.const_data_ptr<double>() + sums.numel());
    summary["kl_rows"] = computed.run.kl_rows;
  }
  if (options.grads) {
    const std::vector<std::string> none =
        without_gradient(checkpoint.manifest, adapters, computed.run.parameters);
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
  add_adapter_option(command, options->adapters);
  add_dtype_option(command, options->dtype);
  add_recipe_option(command, options->recipe);
  command.add_option("--device", options->device, "Where it runs")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  add_attention_option(command, options->attention);
  command
      .add_option(
          "--loss", options->loss,
          "Loss to compute: of the language model, the indexer's KL loss, or both (default: lm "
          "when there are labels)")
      ->check(CLI::IsMember({"none", "lm", "kl", "lm+kl"}));
  command.add_flag("--grads", options->grads,
                   "Also write the loss's gradient of every parameter, as grad.<parameter>; with "
                   "--adapter of the adapters' tensors alone");
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
