#include "src/core/safetensors.h"
#include "src/core/strict_json.h"
#include "suites/selftest/fuzz/fuzz_target.h"

#include <nlohmann/json.hpp>

#include <string_view>

int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace sparity;
  using Json = nlohmann::json;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  fuzz::refuse_or_read([&] {
    const Json strict = core::parse_json(text, fuzz::kSource);
    // Whatever the strict reader takes, the library takes, and as the same value.
    fuzz::demand(Json::parse(text, nullptr, false) == strict, "the library reads the same");
    fuzz::demand(core::parse_json(strict.dump(), fuzz::kSource) == strict, "text and back");
    core::describe(strict);
    const core::ShardIndex index = core::parse_shard_index(strict, fuzz::kSource);
    for (const auto& [tensor, shard] : index.weight_map) {
      fuzz::demand(shard.find('/') == std::string::npos && shard != "..", "shards stay inside");
    }
  });
  return 0;
}
