#include "src/core/model_config.h"
#include "src/core/safetensors.h"
#include "src/core/tensor_manifest.h"
#include "suites/cli/command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace sparity::cli {

namespace {

/// A checkpoint's files against what its config asks for.
struct Inspection {
  core::ModelConfig config;
  std::vector<std::string> warnings;
  std::int64_t parameters = 0;
  std::int64_t indexer_parameters = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> shards;
  std::map<std::string, std::int64_t> dtypes;  // tensors of each
  std::vector<std::string> missing;
  std::vector<std::string> left_over;
  std::vector<std::string> misshapen;
  std::vector<std::string> mtp;

  bool fits() const { return missing.empty() && left_over.empty() && misshapen.empty(); }
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

Inspection inspect(const std::string& folder) {
  SPARITY_CHECK_INPUT(std::filesystem::is_directory(folder),
                      fmt::format("{}: expected a checkpoint folder", folder));
  core::ParsedConfig parsed = core::read_model_config(folder);
  const core::TensorManifest manifest(parsed.config);
  const core::ShardedSafetensors files = core::ShardedSafetensors::open(folder);
  Inspection result;
  result.config = parsed.config;
  result.warnings = parsed.warnings;
  result.warnings.insert(result.warnings.end(), files.warnings().begin(), files.warnings().end());
  result.parameters = manifest.parameter_count();
  result.indexer_parameters = manifest.indexer_parameter_count();
  for (const core::SafetensorsFile& shard : files.shards()) {
    result.shards.push_back(shard.path().filename().string());
  }
  for (const auto& [name, location] : files.tensors()) {
    ++result.dtypes[std::string(core::safetensors_name(location.entry.dtype))];
    result.bytes += location.entry.end - location.entry.begin;
    if (manifest.is_mtp(name)) {
      result.mtp.push_back(name);
    } else if (!manifest.contains(name)) {
      result.left_over.push_back(name);
    } else if (manifest.at(name).shape != location.entry.shape) {
      result.misshapen.push_back(fmt::format("{}: expected {}, found {}", name,
                                             shape_text(manifest.at(name).shape),
                                             shape_text(location.entry.shape)));
    }
  }
  for (const core::ParameterSpec& parameter : manifest.parameters()) {
    if (!files.tensors().contains(parameter.name)) {
      result.missing.push_back(parameter.name);
    }
  }
  return result;
}

nlohmann::json as_json(const Inspection& result) {
  return {{"config", core::to_json(result.config)},
          {"config_hash", core::config_hash(result.config)},
          {"parameters", result.parameters},
          {"indexer_parameters", result.indexer_parameters},
          {"bytes", result.bytes},
          {"shards", result.shards},
          {"dtypes", result.dtypes},
          {"missing", result.missing},
          {"left_over", result.left_over},
          {"misshapen", result.misshapen},
          {"mtp", result.mtp},
          {"warnings", result.warnings},
          {"fits", result.fits()}};
}

void print_names(std::string_view title, const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 20;
  if (names.empty()) {
    return;
  }
  fmt::print("{} ({}):\n", title, names.size());
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    fmt::print("  {}\n", names[i]);
  }
  if (names.size() > kShown) {
    fmt::print("  and {} more (--json lists all)\n", names.size() - kShown);
  }
}

void print_text(const Inspection& result) {
  const core::ModelConfig& c = result.config;
  const auto moe = std::ranges::count(c.mlp_layer_types, core::MlpType::kSparse);
  fmt::print("config      {} ({} layers, {} of them MoE; hidden {}, heads {}, vocabulary {})\n",
             core::config_hash(c), c.num_hidden_layers, moe, c.hidden_size, c.num_attention_heads,
             c.vocab_size);
  fmt::print("indexer     {} heads of {}, top {}\n", c.index_n_heads, c.index_head_dim,
             c.index_topk);
  fmt::print("parameters  {} (indexer {})\n", result.parameters, result.indexer_parameters);
  fmt::print("files       {} ({} bytes of tensors)\n", fmt::join(result.shards, ", "),
             result.bytes);
  for (const auto& [dtype, count] : result.dtypes) {
    fmt::print("tensors     {} of {}\n", count, dtype);
  }
  print_names("missing", result.missing);
  print_names("not in the model", result.left_over);
  print_names("of another shape", result.misshapen);
  print_names("multi-token prediction, left alone", result.mtp);
  print_names("warnings", result.warnings);
  fmt::print("{}\n", result.fits() ? "fits its config" : "does not fit its config");
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  struct Options {
    std::string folder;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App& command = *app.add_subcommand(
      "inspect", "A checkpoint's config, tensors, shards and counts; what is missing or left over");
  command.add_option("DIR", options->folder, "Checkpoint folder")->required();
  command.add_flag("--json", options->json, "Print everything as JSON");
  command.footer(example("sparity inspect /tmp/tiny") +
                 "\nExit code 5 when the tensors do not fit the config.");
  command.callback([options, &action] {
    action = [options] {
      const Inspection result = inspect(options->folder);
      if (options->json) {
        fmt::print("{}\n", as_json(result).dump(2));
      } else {
        print_text(result);
      }
      return result.fits() ? core::ExitCode::kPass : core::ExitCode::kBadInput;
    };
  });
}

}  // namespace sparity::cli
