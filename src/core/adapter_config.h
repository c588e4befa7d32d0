#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::core {

/// How a new adapter's A starts; B starts at zero.
enum class AdapterInit {
  kKaimingUniform,  // `init_lora_weights: true`: U(−1/√in, 1/√in)
  kGaussian,        // `init_lora_weights: "gaussian"`: N(0, 1/r²), a spread of 1/r
};

/// Names of modules, or one regular expression for them, as PEFT's `target_modules` and
/// `exclude_modules` take them. A listed name means a module that is called so or ends in "." and
/// it; an expression has to match a whole name (ECMAScript's syntax, which agrees with Python's in
/// what module names need). The expression "all-linear" means every linear module but the head.
struct ModuleNames {
  std::vector<std::string> names;
  std::optional<std::string> expression;

  bool empty() const { return names.empty() && !expression; }
};

/// What it means when two of `rank_pattern` or `alpha_pattern` match one module and differ. PEFT
/// takes the first in its file, which it writes in alphabetical order.
enum class Overlap {
  kRefused,      // in a configuration that somebody wrote: which is first there is not known here
  kFirstCounts,  // in a file of PEFT's
};

/// A LoRA of PEFT 0.21.2: the fields of its adapter_config.json that change a number. Defaults are
/// PEFT's.
struct AdapterConfig {
  std::int64_t r = 8;
  double lora_alpha = 8;
  bool use_rslora = false;    // scaling α/√r instead of α/r
  double lora_dropout = 0.0;  // of the adapter's input, while training
  AdapterInit init_lora_weights = AdapterInit::kKaimingUniform;
  ModuleNames target_modules;
  /// Parameters by name or by its end: "gate_up_proj" and "down_proj" mean transformers' stacked
  /// experts, any other is a linear weight ("layers.0.mlp.gate_proj.weight").
  std::vector<std::string> target_parameters;
  ModuleNames exclude_modules;
  std::vector<std::int64_t> layers_to_transform;  // empty: all
  std::vector<std::string> layers_pattern;        // what comes before a layer's number; empty: any
  std::map<std::string, std::int64_t> rank_pattern;  // r by expression
  std::map<std::string, double> alpha_pattern;       // lora_alpha by expression
  std::string base_model_name_or_path;
};

/// Reads adapter_config.json's object. Throws (exit code 5, "<source>: <pointer>: expected …, found
/// …") for a value out of range (r below 1, dropout outside [0, 1)), for whatever PEFT has and this
/// does not (DoRA, biases, `modules_to_save`, `fan_in_fan_out`, layer replication, other
/// initialisations and `peft_type`s …), by name unless it is at the value that turns it off, and
/// for unknown members.
AdapterConfig read_adapter_config(const nlohmann::json& object, const std::string& source);

/// What PEFT reads back as the same adapter: its minimal set of fields, sorted.
nlohmann::json to_json(const AdapterConfig& config);

}  // namespace sparity::core
