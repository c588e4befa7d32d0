#include "src/train/adapter_rules.h"

#include "src/core/adapter_export.h"
#include "src/core/error.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>

namespace sparity::train {

namespace {

void check_roles(Stage stage, const tensors::Adapter& adapter) {
  for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
    SPARITY_CHECK_INPUT(
        trains(stage, tensor.role),
        fmt::format("adapter '{}': '{}': expected an adapter on what stage {} trains, which is not "
                    "the {}",
                    adapter.name, tensor.name, core::word_of(stage),
                    is_indexer(tensor.role) ? "indexer" : "model"));
  }
}

/// Whether the adapter is on the indexer; it must not be on both.
bool is_on_indexer(const tensors::Adapter& adapter) {
  const bool first = is_indexer(adapter.layout.tensors().front().role);
  for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
    SPARITY_CHECK_INPUT(
        is_indexer(tensor.role) == first,
        fmt::format("adapter '{}': expected the model alone or the indexer alone in stage "
                    "dual-lora, found both: '{}' and '{}'",
                    adapter.name, adapter.layout.tensors().front().name, tensor.name));
  }
  return first;
}

}  // namespace

void check_adapter_name(const std::string& name, const std::string& source) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  };
  SPARITY_CHECK_INPUT(!name.empty() && name.size() <= 64 && std::ranges::all_of(name, plain),
                      fmt::format("{}: expected an adapter's name of letters, digits, _ and -, "
                                  "found {}",
                                  source, core::quote(name)));
}

void check_adapters(Stage stage, const std::vector<tensors::Adapter>& adapters) {
  SPARITY_CHECK_INPUT(stage != Stage::kPretrain || adapters.empty(),
                      "--lora: stage pretrain trains the weights themselves; expected no adapter");
  SPARITY_CHECK_INPUT(stage != Stage::kDualLora || adapters.size() == 2,
                      fmt::format("stage dual-lora: expected two adapters, one on the model and "
                                  "one on the indexer (--lora NAME=FILE twice), found {}",
                                  adapters.size()));
  std::set<std::string> names;
  for (const tensors::Adapter& adapter : adapters) {
    SPARITY_CHECK_INPUT(
        names.insert(adapter.name).second,
        fmt::format("adapter '{}': expected a name of its own, found it twice", adapter.name));
    check_roles(stage, adapter);
    core::check_dropout(adapter.config, adapter.layout, fmt::format("adapter '{}'", adapter.name));
    core::config_for_peft(adapter.config, adapter.layout,
                          fmt::format("adapter '{}'", adapter.name));
  }
  if (stage == Stage::kDualLora) {
    const bool first = is_on_indexer(adapters[0]);
    SPARITY_CHECK_INPUT(
        first != is_on_indexer(adapters[1]),
        fmt::format("stage dual-lora: expected one adapter on the model and one on the indexer, "
                    "found '{}' and '{}' both on the {}",
                    adapters[0].name, adapters[1].name, first ? "indexer" : "model"));
  }
}

}  // namespace sparity::train
