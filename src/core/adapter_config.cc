#include "src/core/adapter_config.h"

#include "src/core/error.h"
#include "src/core/json_fields.h"
#include "src/core/name_pattern.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>

namespace sparity::core {

namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMostRank = 1 << 16;
constexpr double kMostAlpha = 1e9;
constexpr std::int64_t kMostLayer = 1 << 20;

/// Fields that change no number: where the adapter comes from, what it is for, and settings of
/// what is off.
constexpr auto kIgnoredAdapterFields = std::to_array<std::string_view>({
    "auto_mapping",
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
});

/// Fields of PEFT that this has nothing for: off where they are null, false or empty.
constexpr auto kOff = std::to_array<std::string_view>({
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "lora_bias",
    "lora_ga_config",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
});

void refuse_unsupported(JsonFields& fields) {
  fields.require("peft_type", "LORA");
  fields.require("bias", "none");
  for (const std::string_view key : kOff) {
    const Json* member = fields.find_value(key);
    if (member != nullptr && *member != Json(false) &&
        !(member->is_structured() && member->empty())) {
      fields.fail(key, "null, false or nothing in it (it is not supported)", describe(*member));
    }
  }
}

/// "<source>: <pointer>" of a member, or of one entry of it.
std::string place_of(const JsonFields& fields, std::string_view key, const std::string& source) {
  return fmt::format("{}: {}", source, fields.pointer(key));
}

/// Throws, naming `place`, for what no module and no sane expression is called.
void check_name(const std::string& name, const std::string& place) {
  constexpr std::size_t kMostBytes = 1000;
  const bool printable =
      std::ranges::all_of(name, [](char letter) { return letter >= ' ' && letter <= '~'; });
  SPARITY_CHECK_INPUT(
      !name.empty() && name.size() <= kMostBytes && printable,
      fmt::format("{}: expected 1 to {} printable characters of ASCII, found {} bytes: {}", place,
                  kMostBytes, name.size(), quote(name)));
}

/// A list of distinct names; nothing where the member is absent or null.
std::vector<std::string> read_names(JsonFields& fields, std::string_view key,
                                    const std::string& source) {
  const Json* list = fields.find_value(key);
  if (list == nullptr) {
    return {};
  }
  if (!list->is_array()) {
    fields.fail(key, "an array of names", describe(*list));
  }
  std::vector<std::string> names;
  for (const Json& entry : *list) {
    const std::string place = fmt::format("{}/{}", place_of(fields, key, source), names.size());
    SPARITY_CHECK_INPUT(entry.is_string(),
                        fmt::format("{}: expected a name, found {}", place, describe(entry)));
    names.push_back(entry.get<std::string>());
    check_name(names.back(), place);
  }
  std::vector<std::string> sorted = names;
  std::ranges::sort(sorted);
  const auto twice = std::ranges::adjacent_find(sorted);
  if (twice != sorted.end()) {
    fields.fail(key, "every name once", quote(*twice) + " twice");
  }
  return names;
}

ModuleNames read_modules(JsonFields& fields, std::string_view key, const std::string& source) {
  const Json* member = fields.find_value(key);
  if (member == nullptr || !member->is_string()) {
    return {read_names(fields, key, source), std::nullopt};
  }
  const auto expression = member->get<std::string>();
  check_name(expression, place_of(fields, key, source));
  const NamePattern compiles(expression, place_of(fields, key, source));
  return {{}, expression};
}

/// One integer or an array of them.
std::vector<std::int64_t> read_layers(JsonFields& fields, const std::string& source) {
  constexpr std::string_view kKey = "layers_to_transform";
  const Json* member = fields.find_value(kKey);
  if (member == nullptr) {
    return {};
  }
  const Json list = member->is_array() ? *member : Json::array({*member});
  std::vector<std::int64_t> layers;
  for (const Json& entry : list) {
    const bool fits = entry.is_number_integer() && entry >= 0 && entry <= kMostLayer;
    SPARITY_CHECK_INPUT(fits,
                        fmt::format("{}: expected a layer from 0 to {}, found {}",
                                    place_of(fields, kKey, source), kMostLayer, describe(entry)));
    layers.push_back(entry.get<std::int64_t>());
    if (std::ranges::count(layers, layers.back()) > 1) {
      fields.fail(kKey, "every layer once", fmt::format("{} twice", layers.back()));
    }
  }
  return layers;
}

std::vector<std::string> read_layers_pattern(JsonFields& fields, const std::string& source) {
  constexpr std::string_view kKey = "layers_pattern";
  const Json* member = fields.find_value(kKey);
  std::vector<std::string> names;
  if (member != nullptr && member->is_string()) {
    names = member->get<std::string>().empty()
                ? names
                : std::vector<std::string>{member->get<std::string>()};
  } else {
    names = read_names(fields, kKey, source);
  }
  for (const std::string& name : names) {
    const bool plain = std::ranges::all_of(name, [](char letter) {
      return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '_' ||
             letter == '.';
    });
    if (!plain) {
      fields.fail(kKey, "plain names of modules", quote(name));
    }
  }
  return names;
}

/// Values by expression: `read` takes one from the object's fields.
template <typename Value, typename Read>
std::map<std::string, Value> read_patterns(JsonFields& fields, std::string_view key,
                                           const std::string& source, const Read& read) {
  const Json* member = fields.find_value(key);
  if (member == nullptr) {
    return {};
  }
  JsonFields entries(*member, source, fields.pointer(key));
  std::map<std::string, Value> patterns;
  for (const auto& entry : member->items()) {
    check_name(entry.key(), place_of(fields, key, source));
    const NamePattern compiles(entry.key(), place_of(entries, entry.key(), source));
    patterns.emplace(entry.key(), read(entries, entry.key()));
  }
  return patterns;
}

AdapterInit read_init(JsonFields& fields) {
  constexpr std::string_view kKey = "init_lora_weights";
  const Json* member = fields.find(kKey);
  if (member == nullptr || *member == Json(true)) {
    return AdapterInit::kKaimingUniform;
  }
  if (*member != Json("gaussian")) {
    fields.fail(kKey, "true or \"gaussian\" (nothing else is supported)", describe(*member));
  }
  return AdapterInit::kGaussian;
}

void read_numbers(JsonFields& fields, AdapterConfig& config, const std::string& source) {
  const auto rank = [](JsonFields& from, std::string_view key) {
    return from.integer(key, AdapterConfig{}.r, 1, kMostRank);
  };
  const auto alpha = [](JsonFields& from, std::string_view key) {
    return from.number(key, AdapterConfig{}.lora_alpha, 0, kMostAlpha);
  };
  config.r = rank(fields, "r");
  config.lora_alpha = alpha(fields, "lora_alpha");
  config.use_rslora = fields.boolean("use_rslora", false);
  config.lora_dropout = fields.number("lora_dropout", 0, 0, 1);
  if (config.lora_dropout == 1) {
    fields.fail("lora_dropout", "a number from 0 to below 1", "1");
  }
  config.rank_pattern = read_patterns<std::int64_t>(fields, "rank_pattern", source, rank);
  config.alpha_pattern = read_patterns<double>(fields, "alpha_pattern", source, alpha);
}

void check_together(JsonFields& fields, const AdapterConfig& config) {
  if (config.target_modules.empty() && config.target_parameters.empty()) {
    fields.fail("target_modules", "names of modules or, in target_parameters, of parameters",
                "neither");
  }
  if (config.target_modules.expression && !config.layers_to_transform.empty()) {
    fields.fail("layers_to_transform", "nothing where target_modules is an expression",
                "some layers");
  }
  if (!config.layers_pattern.empty() && config.layers_to_transform.empty()) {
    fields.fail("layers_pattern", "nothing where layers_to_transform names no layer",
                quote(config.layers_pattern.front()));
  }
}

/// A whole number as an integer, as PEFT writes it.
Json number(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15
             ? Json(static_cast<std::int64_t>(value))
             : Json(value);
}

Json modules(const ModuleNames& names) {
  if (names.expression) {
    return *names.expression;
  }
  return names.names.empty() ? Json() : Json(names.names);
}

/// The list, or null where it is empty.
template <typename Value>
Json list(const std::vector<Value>& values) {
  return values.empty() ? Json() : Json(values);
}

}  // namespace

AdapterConfig read_adapter_config(const Json& object, const std::string& source) {
  JsonFields fields(object, source);
  refuse_unsupported(fields);
  AdapterConfig config;
  read_numbers(fields, config, source);
  config.init_lora_weights = read_init(fields);
  config.target_modules = read_modules(fields, "target_modules", source);
  config.target_parameters = read_names(fields, "target_parameters", source);
  config.exclude_modules = read_modules(fields, "exclude_modules", source);
  config.layers_to_transform = read_layers(fields, source);
  config.layers_pattern = read_layers_pattern(fields, source);
  if (fields.find_value("base_model_name_or_path") != nullptr) {
    config.base_model_name_or_path = *fields.text("base_model_name_or_path");
  }
  check_together(fields, config);
  fields.ignore(kIgnoredAdapterFields);
  for (const std::string& pointer : fields.unread()) {
    SPARITY_FAIL_INPUT(
        fmt::format("{}: expected the fields of PEFT 0.21.2's LoraConfig, found another: {}",
                    source, quote(pointer)));
  }
  return config;
}

Json to_json(const AdapterConfig& config) {
  const Json base = config.base_model_name_or_path;
  Json alpha_pattern = Json::object();
  for (const auto& [pattern, alpha] : config.alpha_pattern) {
    alpha_pattern[pattern] = number(alpha);
  }
  const bool gaussian = config.init_lora_weights == AdapterInit::kGaussian;
  return {{"alpha_pattern", alpha_pattern},
          {"base_model_name_or_path", config.base_model_name_or_path.empty() ? Json() : base},
          {"bias", "none"},
          {"exclude_modules", modules(config.exclude_modules)},
          {"fan_in_fan_out", false},
          {"inference_mode", true},
          {"init_lora_weights", gaussian ? Json("gaussian") : Json(true)},
          {"layers_pattern", list(config.layers_pattern)},
          {"layers_to_transform", list(config.layers_to_transform)},
          {"lora_alpha", number(config.lora_alpha)},
          {"lora_dropout", config.lora_dropout},
          {"modules_to_save", nullptr},
          {"peft_type", "LORA"},
          {"peft_version", "0.21.2"},
          {"r", config.r},
          {"rank_pattern", Json(config.rank_pattern)},
          {"revision", nullptr},
          {"target_modules", modules(config.target_modules)},
          {"target_parameters", list(config.target_parameters)},
          {"task_type", "CAUSAL_LM"},
          {"use_dora", false},
          {"use_rslora", config.use_rslora}};
}

}  // namespace sparity::core
