#include "src/core/adapter_config.h"
#include "src/core/adapter_export.h"
#include "src/core/adapter_layout.h"
#include "src/core/model_config.h"
#include "src/core/strict_json.h"
#include "suites/selftest/fuzz/fuzz_target.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <string_view>

namespace sparity::fuzz {
namespace {

/// Small, with a dense and a sparse layer.
const core::TensorManifest& model() {
  static const core::TensorManifest manifest([] {
    core::ModelConfig config;
    config.num_hidden_layers = 2;
    config.mlp_layer_types = {core::MlpType::kDense, core::MlpType::kSparse};
    config.n_routed_experts = 8;
    config.num_experts_per_tok = 2;
    config.n_group = config.topk_group = 1;
    return config;
  }());
  return manifest;
}

bool same(const core::AdapterLayout& a, const core::AdapterLayout& b) {
  bool equal = a.pairs().size() == b.pairs().size();
  for (std::size_t i = 0; equal && i < a.pairs().size(); ++i) {
    const core::AdapterPair& left = a.pairs()[i];
    const core::AdapterPair& right = b.pairs()[i];
    // A scaling that PEFT needs an alpha of its own for comes back within a rounding.
    equal = left.parameter == right.parameter && left.a == right.a && left.rank == right.rank &&
            std::abs(left.scaling - right.scaling) <= 1e-15 * std::abs(left.scaling) + 1e-300;
  }
  return equal;
}

void check_accepted(const core::AdapterConfig& config) {
  const nlohmann::json once = core::to_json(config);
  demand(core::to_json(core::read_adapter_config(once, "again")) == once,
         "a configuration survives its own JSON");
  const core::AdapterLayout layout(config, model(), kSource);
  demand(!layout.pairs().empty() && layout.parameter_count() > 0, "something is adapted");
  demand(layout.tensors().size() % 2 == 0, "every A has its B");
  const core::AdapterConfig written = core::config_for_peft(config, layout, kSource);
  const core::AdapterConfig again = core::read_adapter_config(core::to_json(written), "written");
  demand(same(core::AdapterLayout(again, model(), "written"), layout),
         "what is written for PEFT means the same");
}

}  // namespace
}  // namespace sparity::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace sparity;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  fuzz::refuse_or_read([&] {
    const nlohmann::json document = core::parse_json(text, fuzz::kSource);
    fuzz::check_accepted(core::read_adapter_config(document, fuzz::kSource));
  });
  return 0;
}
