#include "suites/cli/options.h"

#include <vector>

namespace sparity::cli {

namespace {

/// An option whose words one of this project's from_string functions understands.
template <typename Value, typename FromString>
void add_word_option(CLI::App& command, const std::string& flag, const std::string& description,
                     const std::vector<std::string>& words, Value& value, FromString from_string) {
  command
      .add_option_function<std::string>(
          flag, [&value, from_string](const std::string& word) { value = *from_string(word); },
          description)
      ->check(CLI::IsMember(words))
      ->default_str(std::string(to_string(value)));
}

}  // namespace

void add_dtype_option(CLI::App& command, core::Dtype& dtype) {
  add_word_option(command, "--dtype", "Activation dtype", {"float32", "bfloat16", "float64"}, dtype,
                  core::dtype_from_string);
}

void add_recipe_option(CLI::App& command, core::Recipe& recipe) {
  add_word_option(command, "--recipe",
                  "Where bfloat16 is rounded: as DeepSeek's code does, or as transformers does",
                  {"official", "hf"}, recipe, core::recipe_from_string);
}

void add_attention_option(CLI::App& command, core::AttentionMode& attention) {
  add_word_option(command, "--attention", "Keys attended to: the top-k, or every valid one",
                  {"sparse", "dense"}, attention, core::attention_mode_from_string);
}

void add_threads_option(CLI::App& command, int& threads) {
  command.add_option("--threads", threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

void add_config_options(CLI::App& command, cases::ModelSource& source) {
  command
      .add_option("--config", source.config,
                  "Embedded config (" + cases::embedded_config_names() + ") or a config.json")
      ->type_name("NAME|FILE")
      ->capture_default_str();
  command.add_option("--seed", source.seed, "Decides every seeded number")->capture_default_str();
}

void add_source_options(CLI::App& command, cases::ModelSource& source) {
  command.add_option("--model", source.model, "Checkpoint folder (instead of --config)")
      ->type_name("DIR");
  command
      .add_option("--inputs", source.inputs,
                  "safetensors with input_ids [B,S] (default: two seeded rows)")
      ->type_name("FILE");
  add_config_options(command, source);
}

std::string example(const std::string& command_line) { return "\nExample:\n  " + command_line; }

}  // namespace sparity::cli
