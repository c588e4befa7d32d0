#include "src/core/model_config.h"
#include "src/core/strict_json.h"
#include "suites/cli/command.h"
#include "suites/cli/inspection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace sparity::cli {

namespace {

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
          {"wrong_dtype", result.wrong_dtype},
          {"mtp", result.mtp},
          {"warnings", result.warnings},
          {"quantisation", result.quantisation},
          {"unread", result.unread},
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
  print_names("of a dtype that no weight may have", result.wrong_dtype);
  print_names("multi-token prediction, left alone", result.mtp);
  print_names("warnings", result.warnings);
  if (!result.quantisation.empty()) {
    fmt::print(
        "quantised by {}: recognised, and not supported yet: `run` and `check` refuse it{}{}\n",
        core::quote(result.quantisation),
        result.unread.empty() ? "" : "\nnot read: ", result.unread);
    return;
  }
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
  command.add_option("DIR", options->folder, "Checkpoint folder")->required()->check(not_empty());
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
      const bool ok = result.fits() || !result.quantisation.empty();
      return ok ? core::ExitCode::kPass : core::ExitCode::kBadInput;
    };
  });
}

}  // namespace sparity::cli
