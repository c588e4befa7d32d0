#include "suites/cases/model_source.h"

#include "src/core/error.h"
#include "src/core/strict_json.h"
#include "suites/cases/embedded_configs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

namespace sparity::cases {

bool ModelSource::embedded() const {
  return model.empty() && find_embedded_config(config).has_value();
}

std::string ModelSource::name() const {
  if (!model.empty()) {
    return std::filesystem::weakly_canonical(model).filename().string();
  }
  return embedded() ? config : std::filesystem::path(config).stem().string();
}

std::string ModelSource::flags() const {
  std::string text =
      model.empty() ? fmt::format("--config '{}'", config) : fmt::format("--model '{}'", model);
  if (!inputs.empty()) {
    text += fmt::format(" --inputs '{}'", inputs);
  }
  return text + fmt::format(" --seed {}", seed);
}

std::string embedded_config_names() {
  std::vector<std::string_view> names;
  for (const EmbeddedConfig& config : embedded_configs()) {
    names.push_back(config.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

core::ParsedConfig read_config(const ModelSource& source) {
  if (!source.model.empty()) {
    return core::read_model_config(source.model);
  }
  if (const auto config = find_embedded_config(source.config)) {
    const std::string name = fmt::format("{} (embedded)", source.config);
    return core::parse_model_config(core::parse_json(config->json, name), name);
  }
  SPARITY_CHECK_INPUT(std::filesystem::exists(source.config),
                      fmt::format("--config: expected one of {} or a file, found '{}'",
                                  embedded_config_names(), source.config));
  return core::read_model_config(source.config);
}

tensors::Checkpoint open_checkpoint(const ModelSource& source) {
  if (!source.model.empty()) {
    return tensors::load_checkpoint(source.model);
  }
  core::ParsedConfig parsed = read_config(source);
  tensors::Checkpoint checkpoint = tensors::seeded_checkpoint(parsed.config, source.seed);
  checkpoint.warnings = std::move(parsed.warnings);
  return checkpoint;
}

std::int64_t default_tokens(const core::ModelConfig& config) {
  constexpr std::int64_t kFewest = 64;  // whatever positions the config allows
  return std::min(3 * config.index_topk + 17, std::max(config.max_position_embeddings, kFewest));
}

tensors::Inputs open_inputs(const ModelSource& source, const core::ModelConfig& config) {
  return source.inputs.empty() ? tensors::seeded_inputs(config, source.seed, default_tokens(config))
                               : tensors::read_inputs(source.inputs, config);
}

}  // namespace sparity::cases
