#include "src/core/atomic_folder.h"
#include "src/lora/merge.h"
#include "suites/cli/adapter_options.h"
#include "suites/cli/command.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace sparity::cli {

namespace {

struct ConvertOptions {
  std::string model;
  std::string out;
  std::vector<std::string> adapters;
  bool unmerge = false;
};

core::ExitCode run(const ConvertOptions& options) {
  SPARITY_CHECK_INPUT(!options.adapters.empty(),
                      "--adapter: expected at least one folder to merge, found none");
  const tensors::Checkpoint checkpoint = tensors::load_checkpoint(options.model);
  for (const std::string& warning : checkpoint.warnings) {
    fmt::print(stderr, "sparity: warning: {}\n", warning);
  }
  const std::vector<tensors::Adapter> adapters =
      read_adapters(options.adapters, checkpoint.manifest);
  std::set<std::string> changed;
  for (const tensors::Adapter& adapter : adapters) {
    for (const core::AdapterPair& pair : adapter.layout.pairs()) {
      changed.insert(pair.parameter);
    }
  }
  const std::filesystem::path unfinished = core::AtomicFolder::temporary_of(options.out);
  SPARITY_CHECK_INPUT(!std::filesystem::exists(unfinished),
                      fmt::format("--out: expected no {}, under which it is written; found one: "
                                  "remove it if a stopped run left it",
                                  unfinished.string()));
  core::AtomicFolder folder(options.out);
  tensors::save_checkpoint(
      lora::merged(checkpoint, adapters,
                   options.unmerge ? lora::MergeDirection::kUnmerge : lora::MergeDirection::kMerge),
      folder.path());
  folder.commit();
  fmt::print("{}: {} of {} parameters changed by {} adapter{}\n", options.out, changed.size(),
             checkpoint.manifest.parameters().size(), adapters.size(),
             adapters.size() == 1 ? "" : "s");
  return core::ExitCode::kPass;
}

}  // namespace

void add_convert(CLI::App& app, Action& action) {
  const auto options = std::make_shared<ConvertOptions>();
  CLI::App& command = *app.add_subcommand(
      "convert", "Write a checkpoint with LoRA adapters merged into its weights");
  command.add_option("--model", options->model, "Checkpoint folder")
      ->required()
      ->check(not_empty())
      ->type_name("DIR");
  add_adapter_option(command, options->adapters);
  command.add_flag("--unmerge", options->unmerge,
                   "Take the adapters out again: exact but for rounding, twice, to the weights' "
                   "dtype");
  command.add_option("--out", options->out, "A new folder")
      ->required()
      ->check(not_empty())
      ->type_name("DIR");
  command.footer(example("sparity convert --model DIR --adapter ADAPTER --out MERGED"));
  command.callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace sparity::cli
