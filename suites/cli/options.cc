#include "suites/cli/options.h"

#include <charconv>
#include <optional>
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

/// Decimal digits alone, below 2^64: no sign, no other base.
std::optional<std::uint64_t> seed_from_string(const std::string& word) {
  std::uint64_t seed = 0;
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, seed);
  return error == std::errc() && stop == end ? std::optional(seed) : std::nullopt;
}

}  // namespace

CLI::Validator not_empty() {
  return {[](std::string& word) {
            return word.empty() ? std::string("expected a path, found ''") : std::string();
          },
          ""};
}

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
      ->check(not_empty())
      ->type_name("NAME|FILE")
      ->capture_default_str();
  command
      .add_option_function<std::string>(
          "--seed", [&source](const std::string& word) { source.seed = *seed_from_string(word); },
          "Decides every seeded number")
      ->check(CLI::Validator(
          [](std::string& word) {
            return seed_from_string(word).has_value()
                       ? std::string()
                       : "expected a whole number from 0 to 2^64 - 1, found '" + word + "'";
          },
          ""))
      ->default_str(std::to_string(source.seed))
      ->type_name("N");
}

void add_source_options(CLI::App& command, cases::ModelSource& source) {
  command.add_option("--model", source.model, "Checkpoint folder (instead of --config)")
      ->check(not_empty())
      ->type_name("DIR");
  command
      .add_option("--inputs", source.inputs,
                  "safetensors with input_ids [B,S] (default: two seeded rows)")
      ->check(not_empty())
      ->type_name("FILE");
  add_config_options(command, source);
  command.get_option("--model")->excludes("--config");
}

std::string example(const std::string& command_line) { return "\nExample:\n  " + command_line; }

}  // namespace sparity::cli
