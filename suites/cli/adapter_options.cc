#include "suites/cli/adapter_options.h"

#include "src/core/error.h"
#include "src/core/strict_json.h"
#include "src/train/adapter_rules.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <set>

namespace sparity::cli {

namespace fs = std::filesystem;

std::vector<AdapterArgument> adapter_arguments(const std::vector<std::string>& words,
                                               const std::string& flag) {
  std::vector<AdapterArgument> arguments;
  std::set<std::string> names;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    AdapterArgument argument{"default", word};
    if (equals != std::string::npos && word.find('/') > equals) {
      argument = {word.substr(0, equals), word.substr(equals + 1)};
    } else if (!arguments.empty()) {
      const fs::path path = fs::path(word).lexically_normal();
      argument.name = (path.has_filename() ? path : path.parent_path()).stem().string();
    }
    train::check_adapter_name(argument.name, flag);
    SPARITY_CHECK_INPUT(names.insert(argument.name).second,
                        fmt::format("{}: expected adapters of different names, found '{}' twice "
                                    "(NAME=PATH names one)",
                                    flag, argument.name));
    arguments.push_back(std::move(argument));
  }
  return arguments;
}

void add_adapter_option(CLI::App& app, std::vector<std::string>& words) {
  app.add_option("--adapter", words,
                 "Folder of a LoRA adapter as PEFT writes them, active from its first layer to its "
                 "last; several add up")
      ->type_name("[NAME=]DIR")
      ->allow_extra_args(false);
}

std::vector<tensors::Adapter> read_adapters(const std::vector<std::string>& words,
                                            const core::TensorManifest& manifest) {
  std::vector<tensors::Adapter> adapters;
  for (const AdapterArgument& argument : adapter_arguments(words, "--adapter")) {
    adapters.push_back(tensors::load_adapter(argument.path, manifest, argument.name));
  }
  return adapters;
}

core::AdapterConfig adapter_config(const std::string& path) {
  const fs::path file =
      fs::is_directory(path) ? fs::path(path) / "adapter_config.json" : fs::path(path);
  return core::read_adapter_config(core::read_json(file), file.string());
}

std::vector<tensors::Adapter> trained_adapters(const std::vector<std::string>& words,
                                               const core::TensorManifest& manifest,
                                               std::uint64_t seed) {
  std::vector<tensors::Adapter> adapters;
  for (const AdapterArgument& argument : adapter_arguments(words, "--lora")) {
    if (fs::is_directory(argument.path)) {
      adapters.push_back(tensors::load_adapter(argument.path, manifest, argument.name));
    } else {
      adapters.push_back(tensors::seeded_adapter(adapter_config(argument.path), manifest,
                                                 argument.name, seed, argument.path));
    }
  }
  return adapters;
}

}  // namespace sparity::cli
