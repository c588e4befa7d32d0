#include "src/core/model_config_reader.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <utility>

namespace sparity::core {

namespace {

using Json = nlohmann::json;

constexpr double kLeastTheta = 1.0 + 1e-6;  // YaRN divides by ln(theta)
constexpr double kMostReal = 1e12;
constexpr auto kYarnKeys = std::to_array<std::string_view>(
    {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "mscale",
     "mscale_all_dim", "attention_factor", "truncate"});

/// The rope type under either of its names, which may only agree.
RopeType read_type(JsonFields& rope) {
  const std::optional<std::string> type = rope.text("type");
  const std::string name = rope.text("rope_type").value_or(type.value_or("default"));
  if (type && *type != name) {
    rope.fail("type", fmt::format("{}, as rope_type says", quote(name)), quote(*type));
  }
  if (name != "default" && name != "yarn") {
    rope.fail(type ? "type" : "rope_type", "\"default\" or \"yarn\" (nothing else is supported)",
              quote(name));
  }
  return name == "yarn" ? RopeType::kYarn : RopeType::kDefault;
}

void read_yarn(JsonFields& rope, const ModelConfig& config, RopeParameters& parameters,
               const std::string& source, std::vector<std::string>& warnings) {
  if (rope.find("factor") == nullptr) {
    rope.fail("factor", "a number, which YaRN needs", "none");
  }
  parameters.factor = rope.number("factor", 0.0, 1.0, kMostReal);
  if (rope.find("original_max_position_embeddings") == nullptr) {
    warnings.push_back(fmt::format("{}: {}: absent, so max_position_embeddings = {} is taken",
                                   source, rope.pointer("original_max_position_embeddings"),
                                   config.max_position_embeddings));
  }
  parameters.original_max_position_embeddings = rope.integer(
      "original_max_position_embeddings", config.max_position_embeddings, 1, kMaxDimension);
  // The defaults are transformers': 32 and 1.
  parameters.beta_fast =
      rope.optional_number("beta_fast", 1e-6, kMostReal).value_or(parameters.beta_fast);
  parameters.beta_slow =
      rope.optional_number("beta_slow", 1e-6, kMostReal).value_or(parameters.beta_slow);
  parameters.mscale = rope.optional_number("mscale", 0.0, kMostReal);
  parameters.mscale_all_dim = rope.optional_number("mscale_all_dim", 0.0, kMostReal);
  parameters.attention_factor = rope.optional_number("attention_factor", 1e-6, kMostReal);
  rope.require("truncate", true);
}

/// A dictionary per layer type is refused by name: transformers writes it but cannot run it.
void refuse_nesting(JsonFields& rope, const Json& object) {
  for (const auto& item : object.items()) {
    if (item.value().is_object()) {
      rope.fail(item.key(), "one set of rope parameters for all layers", describe(item.value()));
    }
  }
}

}  // namespace

RopeParameters read_rope_parameters(JsonFields& fields, const ModelConfig& config,
                                    const std::string& source, std::vector<std::string>& warnings) {
  RopeParameters parameters;
  const Json* scaling = fields.find_value("rope_scaling");
  const Json* object = fields.find_value("rope_parameters");
  if (scaling != nullptr && object != nullptr) {
    fields.fail("rope_scaling", "either this or rope_parameters", "both");
  }
  const char* key = scaling != nullptr ? "rope_scaling" : "rope_parameters";
  object = scaling != nullptr ? scaling : object;
  parameters.rope_theta =
      fields.number("rope_theta", parameters.rope_theta, kLeastTheta, kMostReal);
  if (object == nullptr) {
    return parameters;
  }
  JsonFields rope(*object, source, fields.pointer(key));
  refuse_nesting(rope, *object);
  const double theta = rope.number("rope_theta", parameters.rope_theta, kLeastTheta, kMostReal);
  if (fields.find("rope_theta") != nullptr && theta != parameters.rope_theta) {
    rope.fail("rope_theta", fmt::format("{}, as /rope_theta says", parameters.rope_theta),
              fmt::to_string(theta));
  }
  parameters.rope_theta = theta;
  parameters.rope_type = read_type(rope);
  rope.require("partial_rotary_factor", 1.0);
  if (parameters.rope_type == RopeType::kYarn) {
    read_yarn(rope, config, parameters, source, warnings);
  } else {
    for (const std::string_view unused : kYarnKeys) {
      if (rope.find(unused) != nullptr) {
        warnings.push_back(fmt::format("{}: {}: ignored, since the rope type is \"default\"",
                                       source, rope.pointer(unused)));
      }
    }
  }
  warn_unread(rope, source, warnings);
  return parameters;
}

}  // namespace sparity::core
