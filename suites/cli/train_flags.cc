#include "suites/cli/train_flags.h"

#include "src/core/error.h"
#include "src/core/json_fields.h"
#include "src/core/strict_json.h"
#include "src/train/option_fields.h"
#include "suites/cli/options.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

namespace sparity::cli {

namespace {

using train::OptionField;

/// "weight_decay" → "--weight-decay".
std::string flag_of(std::string_view option) {
  std::string name(option);
  std::ranges::replace(name, '_', '-');
  return "--" + name;
}

/// Adds one flag an option, which keeps what it is given as it stands.
class FlagAdder {
 public:
  FlagAdder(CLI::App& app, std::map<std::string, std::string>& flags) : app_(app), flags_(flags) {}

  void operator()(const OptionField& field, std::int64_t value) {
    add(field)->type_name("N")->default_str(std::to_string(value));
  }
  void operator()(const OptionField& field, double value) {
    add(field)->type_name("X")->default_str(fmt::format("{}", value));
  }
  void operator()(const OptionField& field, const std::optional<double>&) {
    add(field)->type_name("X");
  }
  void operator()(const OptionField& field, bool) {
    const std::string name(field.name);
    app_.add_flag_callback(
            flag_of(name), [this_flags = &flags_, name] { (*this_flags)[name] = ""; },
            std::string(field.help))
        ->group(kGroup);
  }
  void operator()(const OptionField& field, core::Dtype value) {
    add_word(field, {"float32", "bfloat16", "float64"}, std::string(core::to_string(value)));
  }
  void operator()(const OptionField& field, core::Recipe value) {
    add_word(field, {"official", "hf"}, std::string(core::to_string(value)));
  }
  template <typename Option>
  void operator()(const OptionField& field, Option value) {
    std::vector<std::string> words;
    for (const auto& entry : core::option_words<Option>()) {
      words.emplace_back(entry.word);
    }
    add_word(field, words, std::string(core::word_of(value)));
  }

 private:
  static constexpr const char* kGroup = "Training";

  CLI::Option* add(const OptionField& field) {
    const std::string name(field.name);
    return app_
        .add_option_function<std::string>(
            flag_of(name),
            [this_flags = &flags_, name](const std::string& text) { (*this_flags)[name] = text; },
            std::string(field.help))
        ->group(kGroup);
  }
  void add_word(const OptionField& field, const std::vector<std::string>& words,
                const std::string& value) {
    add(field)->check(CLI::IsMember(words))->default_str(value);
  }

  CLI::App& app_;
  std::map<std::string, std::string>& flags_;
};

[[noreturn]] void fail(const OptionField& field, const std::string& expected,
                       const std::string& text) {
  SPARITY_FAIL_INPUT(
      fmt::format("{}: expected {}, found {}", flag_of(field.name), expected, core::quote(text)));
}

/// Makes of the flags what a config file would say, whose messages then speak of flags.
class FlagReader {
 public:
  FlagReader(const std::map<std::string, std::string>& flags, train::Stage stage)
      : flags_(flags), stage_(stage) {}

  template <typename Value>
  void operator()(const OptionField& field, const Value& value) {
    const auto given = flags_.find(std::string(field.name));
    if (given == flags_.end()) {
      return;
    }
    if (const char* expected = train::refusal(field.of, stage_)) {
      fail(field, expected, given->second);
    }
    object[std::string(field.name)] = read(field, given->second, value);
  }

  nlohmann::json object = nlohmann::json::object();

 private:
  static nlohmann::json read(const OptionField& field, const std::string& text, std::int64_t) {
    const auto least = static_cast<std::int64_t>(field.least);
    const auto most = static_cast<std::int64_t>(field.most);
    std::int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stopped != end || value < least || value > most) {
      fail(field, fmt::format("an integer from {} to {}", least, most), text);
    }
    return value;
  }
  static nlohmann::json read(const OptionField& field, const std::string& text, double) {
    char* stopped = nullptr;
    const double value = std::strtod(text.c_str(), &stopped);
    const bool whole = !text.empty() && stopped == text.c_str() + text.size();
    if (!whole || !(value >= field.least && value <= field.most)) {
      fail(field, fmt::format("a number from {} to {}", field.least, field.most), text);
    }
    return value;
  }
  static nlohmann::json read(const OptionField& field, const std::string& text,
                             const std::optional<double>&) {
    return read(field, text, 0.0);
  }
  static nlohmann::json read(const OptionField&, const std::string&, bool) { return true; }
  template <typename Word>
  static nlohmann::json read(const OptionField&, const std::string& text, Word) {
    return text;  // one of its words: checked as flags are parsed
  }

  const std::map<std::string, std::string>& flags_;
  train::Stage stage_;
};

}  // namespace

void add_train_flags(CLI::App& app, TrainCommand& command) {
  app.add_option("--model", command.model, "Checkpoint folder to start from")->type_name("DIR");
  app.add_option("--data", command.data,
                 "Tokens: .safetensors with input_ids I64 [N,S], or .jsonl with one "
                 "{\"input_ids\": [...]} a line; optional labels, loss_mask")
      ->required()
      ->type_name("FILE");
  app.add_option("--out", command.out, "Folder for metrics.jsonl and the checkpoints step-N")
      ->required()
      ->type_name("DIR");
  app.add_option("--stage", command.stage, train::listed_words<train::Stage>())->type_name("STAGE");
  app.add_option("--config", command.config,
                 "JSON object of the options below, named as the flags are, with _ for -; flags "
                 "come after it")
      ->type_name("FILE");
  app.add_option(
         "--lora", command.lora,
         "Train an adapter in place of the weights: a new one by PEFT's adapter_config.json "
         "(r, lora_alpha, target_modules, …), or the one in a folder; dual-lora takes two")
      ->type_name("[NAME=]FILE|DIR")
      ->allow_extra_args(false);
  app.add_option("--validate", command.validate, "Tokens on which losses are also measured")
      ->type_name("FILE");
  app.add_option("--resume", command.resume,
                 "Go on from this checkpoint step-N, or from the latest in this folder, with the "
                 "same options and data; with adapters, give --model too")
      ->type_name("DIR");
  add_threads_option(app, command.threads);
  app.add_flag("--json", command.json, "Print the summary as JSON");
  train::TrainOptions defaults;
  train::visit_options(defaults, FlagAdder(app, command.flags));
}

train::TrainOptions options_of(const TrainCommand& command) {
  nlohmann::json config = nlohmann::json::object();
  std::string stage = command.stage;
  if (!command.config.empty()) {
    config = core::read_json(command.config);
    core::JsonFields fields(config, command.config);
    stage = stage.empty() ? fields.text("stage").value_or("") : stage;
  }
  SPARITY_CHECK_INPUT(!stage.empty(), "--stage: expected one of " +
                                          train::listed_words<train::Stage>() + ", found none");
  SPARITY_CHECK_INPUT(command.stage.empty() || core::option_of<train::Stage>(stage),
                      fmt::format("--stage: expected one of {}, found {}",
                                  train::listed_words<train::Stage>(), core::quote(stage)));
  train::TrainOptions options = train::defaults_of(train::stage_from_string(stage, command.config));
  config.erase("stage");
  train::apply(config, command.config, options);
  FlagReader flags(command.flags, options.stage);
  train::visit_options(options, flags);
  train::apply(flags.object, "command line", options);
  train::settle(options);
  return options;
}

}  // namespace sparity::cli
