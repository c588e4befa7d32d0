#include "src/core/model_config.h"
#include "src/core/strict_json.h"
#include "src/core/tensor_manifest.h"
#include "suites/selftest/fuzz/fuzz_target.h"

#include <nlohmann/json.hpp>

#include <string_view>

namespace sparity::fuzz {
namespace {

void check_accepted(const core::ParsedConfig& parsed) {
  core::validate(parsed.config, "accepted");
  const core::ParsedConfig again = core::parse_model_config(core::to_json(parsed.config), "again");
  demand(again.config == parsed.config, "a config survives its own JSON");
  demand(again.warnings.empty(), "its own JSON draws no warning");
  demand(core::config_hash(again.config) == core::config_hash(parsed.config), "hashes agree");
  // Listing millions of experts is slow and tells nothing more.
  if (parsed.config.num_hidden_layers <= 8 && parsed.config.n_routed_experts <= 64) {
    try {
      const core::TensorManifest manifest(parsed.config);
      demand(manifest.parameter_count() > 0, "parameters are counted");
    } catch (const core::Error& error) {
      demand(error.code() == core::ExitCode::kBadInput, error.what());  // too many to count
    }
  }
}

}  // namespace
}  // namespace sparity::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace sparity;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  fuzz::refuse_or_read([&] {
    const nlohmann::json document = core::parse_json(text, fuzz::kSource, {.max_depth = 16});
    fuzz::check_accepted(core::parse_model_config(document, fuzz::kSource));
  });
  return 0;
}
