#include "suites/cli/command.h"

#include <fmt/format.h>

#include <filesystem>

namespace sparity::cli {

namespace {

struct InitOptions {
  cases::ModelSource source;
  std::string out;
  core::Dtype dtype = core::Dtype::kF32;
  double max_shard_gigabytes = 5.0;
};

core::ExitCode run(const InitOptions& options) {
  const std::filesystem::path out = options.out;
  const bool usable = !std::filesystem::exists(out) ||
                      (std::filesystem::is_directory(out) && std::filesystem::is_empty(out));
  SPARITY_CHECK_INPUT(usable,
                      fmt::format("--out: expected a new or empty folder, found {}", options.out));
  SPARITY_CHECK_INPUT(
      options.max_shard_gigabytes > 0,  // CLI::Range lets NaN pass
      fmt::format("--max-shard-gb: expected a number, found {}", options.max_shard_gigabytes));
  const core::ParsedConfig parsed = cases::read_config(options.source);
  const tensors::Checkpoint checkpoint =
      tensors::seeded_checkpoint(parsed.config, options.source.seed, options.dtype);
  tensors::save_checkpoint(checkpoint, options.out,
                           static_cast<std::uint64_t>(options.max_shard_gigabytes * 1e9));
  fmt::print("{}: {} parameters, {}\n", options.out, checkpoint.manifest.parameter_count(),
             core::to_string(options.dtype));
  return core::ExitCode::kPass;
}

}  // namespace

void add_init(CLI::App& app, Action& action) {
  const auto options = std::make_shared<InitOptions>();
  CLI::App& command =
      *app.add_subcommand("init", "Write a checkpoint with seeded weights, in Hugging Face format");
  add_config_options(command, options->source);
  command.add_option("--out", options->out, "A new or empty folder")
      ->required()
      ->check(not_empty())
      ->type_name("DIR");
  add_dtype_option(command, options->dtype);
  command
      .add_option("--max-shard-gb", options->max_shard_gigabytes, "Start another shard above this")
      ->check(CLI::Range(1e-9, 1e9))
      ->capture_default_str();
  command.footer(example("sparity init --config tiny --seed 7 --out /tmp/tiny"));
  command.callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace sparity::cli
