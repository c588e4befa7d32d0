#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace sparity::cases {

/// A config of fixtures/configs, compiled into the program.
struct EmbeddedConfig {
  std::string_view name;  // "tiny"
  std::string_view json;
};

std::span<const EmbeddedConfig> embedded_configs();
std::optional<EmbeddedConfig> find_embedded_config(std::string_view name);

}  // namespace sparity::cases
