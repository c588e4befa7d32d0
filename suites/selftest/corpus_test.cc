#include "src/core/adapter_config.h"
#include "src/core/adapter_layout.h"
#include "src/core/error.h"
#include "src/core/model_config.h"
#include "src/core/safetensors.h"
#include "src/core/strict_json.h"
#include "src/core/tensor_manifest.h"
#include "src/core/token_file.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>

namespace sparity::core {
namespace {

namespace fs = std::filesystem;

void read_whole_safetensors(const fs::path& path) {
  const SafetensorsFile file(path);
  for (const auto& [name, entry] : file.tensors()) {
    file.read(name);
  }
}

/// As one to be trained, on a model with a dense and a sparse layer.
void read_adapter(const fs::path& path) {
  ModelConfig model;
  model.num_hidden_layers = 2;
  model.mlp_layer_types = {MlpType::kDense, MlpType::kSparse};
  const AdapterConfig config = read_adapter_config(read_json(path), path.string());
  const AdapterLayout layout(config, TensorManifest(model), path.string());
  check_dropout(config, layout, path.string());
}

/// A folder of the corpus (fixtures/corpus/make_corpus.py) and what reads its entries.
struct Corpus {
  const char* name;
  std::function<void(const fs::path&)> read;
  std::size_t least_hostile;  // fewer than these, and the corpus has gone missing
  std::size_t least_valid;
};

class HostileFiles : public testing::TestWithParam<Corpus> {};

TEST_P(HostileFiles, AreRefusedByNameAndValidOnesAreRead) {
  std::size_t hostile = 0;
  std::size_t valid = 0;
  for (const auto& item :
       fs::directory_iterator(fs::path(SPARITY_SOURCE_DIR "/fixtures/corpus") / GetParam().name)) {
    const fs::path& path = item.path();
    if (path.filename().string().starts_with("valid-")) {
      ++valid;
      EXPECT_NO_THROW(GetParam().read(path)) << path;
      continue;
    }
    ++hostile;
    try {
      GetParam().read(path);
      ADD_FAILURE() << path << " is accepted";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.code(), ExitCode::kBadInput) << path;
      EXPECT_NE(message.find(path.filename().string()), std::string::npos) << message;
      EXPECT_NE(message.find("expected"), std::string::npos) << message;
      EXPECT_LT(message.size(), 1000U) << path;
      EXPECT_TRUE(std::ranges::none_of(message, [](unsigned char letter) { return letter < ' '; }))
          << path;
    }
  }
  EXPECT_GE(hostile, GetParam().least_hostile);
  EXPECT_GE(valid, GetParam().least_valid);
}

INSTANTIATE_TEST_SUITE_P(
    Corpus, HostileFiles,
    testing::Values(Corpus{"safetensors", read_whole_safetensors, 123, 10},
                    Corpus{"json", [](const fs::path& path) { read_json(path); }, 53, 5},
                    Corpus{"config", [](const fs::path& path) { read_model_config(path); }, 58, 4},
                    Corpus{"tokens",
                           [](const fs::path& path) {
                             read_token_rows(path, {.vocab_size = 10, .max_tokens = 4});
                           },
                           28, 6},
                    Corpus{"adapter", read_adapter, 52, 7},
                    Corpus{"index", [](const fs::path& path) { ShardedSafetensors::open(path); },
                           24, 3}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace sparity::core
