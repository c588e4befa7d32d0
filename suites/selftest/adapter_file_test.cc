#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/safetensors.h"
#include "src/core/strict_json.h"
#include "src/tensors/adapter.h"
#include "src/tensors/at_dtype.h"
#include "suites/selftest/golden.h"
#include "suites/selftest/scratch_folder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <functional>

namespace sparity::tensors {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using Tensors = std::map<std::string, at::Tensor>;

const fs::path kTraining = SPARITY_SOURCE_DIR "/fixtures/goldens/training";

const Golden& base() {
  static const Golden golden("left-padding");
  return golden;
}

Adapter load(const fs::path& folder) {
  return load_adapter(folder, base().checkpoint.manifest, "default");
}

double distance(const at::Tensor& value, const at::Tensor& truth) {
  return (value - truth).norm().item().toDouble() / truth.norm().item().toDouble();
}

at::Tensor delta(const LowRankPair& pair) {
  return pair.scaling * at::matmul(pair.b.to(at::kDouble), pair.a.to(at::kDouble));
}

void expect_same(const Adapter& a, const Adapter& b) {
  ASSERT_EQ(a.layout.pairs().size(), b.layout.pairs().size());
  for (std::size_t i = 0; i < a.layout.pairs().size(); ++i) {
    const core::AdapterPair& left = a.layout.pairs()[i];
    const core::AdapterPair& right = b.layout.pairs()[i];
    EXPECT_EQ(left.parameter, right.parameter);
    EXPECT_EQ(left.a, right.a);
    EXPECT_EQ(left.b, right.b);
    EXPECT_EQ(left.rank, right.rank);
    EXPECT_EQ(left.scaling, right.scaling) << left.parameter;
    EXPECT_EQ(left.experts, right.experts);
    EXPECT_EQ(left.expert, right.expert);
    EXPECT_EQ(left.first_row, right.first_row);
  }
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, values] : a.tensors) {
    EXPECT_TRUE(at::equal(values, b.tensors.at(name))) << name;
  }
}

TEST(AdapterFile, PairsOfPeftsFileGiveItsMergedWeights) {
  const core::SafetensorsFile merged(kTraining / "lora/merged.float32.safetensors");
  const AdapterPairs pairs = pairs_of({load(kTraining / "lora/adapter")});
  ASSERT_EQ(pairs.size(), merged.tensors().size());
  for (const auto& [parameter, list] : pairs) {
    ASSERT_EQ(list.size(), 1U);
    const at::Tensor weight =
        base().checkpoint.weights.get(parameter, at::kDouble) + delta(list.front());
    EXPECT_LT(distance(read_tensor(merged, parameter).to(at::kDouble), weight), 1e-6) << parameter;
    EXPECT_EQ(list.front().scaling, 7.0 / 3.0);
    EXPECT_EQ(list.front().name, "default/" + parameter);
  }
}

TEST(AdapterFile, PairsOfStackedExpertsGiveWhatPeftAdds) {
  const core::SafetensorsFile deltas(kTraining / "lora-stacked/deltas.float32.safetensors");
  const AdapterPairs pairs = pairs_of({load(kTraining / "lora-stacked/adapter")});
  std::size_t experts = 0;
  for (const auto& [parameter, list] : pairs) {
    const std::size_t at = parameter.find(".mlp.experts.");
    if (at == std::string::npos) {
      EXPECT_LT(distance(read_tensor(deltas, parameter).to(at::kDouble), delta(list.front())), 1e-6)
          << parameter;
      continue;
    }
    ++experts;
    const bool down = parameter.ends_with("down_proj.weight");
    const at::Tensor stacked =
        read_tensor(deltas, parameter.substr(0, at) +
                                (down ? ".mlp.experts.down_proj" : ".mlp.experts.gate_up_proj"));
    at::Tensor own = stacked[std::stoll(parameter.substr(at + 13))].to(at::kDouble);
    if (!down) {
      const std::int64_t half = own.size(0) / 2;
      own = own.narrow(0, parameter.ends_with("up_proj.weight") ? half : 0, half);
    }
    EXPECT_LT(distance(own, delta(list.front())), 1e-6) << parameter;
  }
  EXPECT_GT(experts, 0U);
  EXPECT_EQ(experts % 3, 0U);
}

TEST(AdapterFile, RslorasScalingIsByTheRootOfTheRank) {
  const Adapter adapter = load(kTraining / "lora-rslora/adapter");
  for (const core::AdapterPair& pair : adapter.layout.pairs()) {
    EXPECT_EQ(pair.scaling, 7.0 / std::sqrt(3.0));
  }
}

TEST(AdapterFile, WhatIsWrittenIsReadAsTheSameAdapter) {
  for (const char* name : {"lora", "lora-rslora", "lora-stacked"}) {
    SCOPED_TRACE(name);
    const selftest::ScratchFolder scratch;
    const Adapter adapter = load(kTraining / name / "adapter");
    save_adapter(adapter, scratch.path() / "a");
    expect_same(load(scratch.path() / "a"), adapter);
    save_adapter(load(scratch.path() / "a"), scratch.path() / "b");
    for (const char* file : {"adapter_config.json", "adapter_model.safetensors"}) {
      EXPECT_EQ(core::sha256_of_file(scratch.path() / "a" / file),
                core::sha256_of_file(scratch.path() / "b" / file));
    }
  }
}

TEST(AdapterFile, ComesBackUnderEveryWayToName) {
  const char* const configs[] = {
      R"({"target_modules": "all-linear", "exclude_modules": ["0.mlp.up_proj"]})",
      R"({"target_modules": ["lm_head", "wk", "gate"], "init_lora_weights": "gaussian"})",
      R"({"target_modules": ["gate_proj", "up_proj", "down_proj"], "layers_to_transform": [1]})",
      R"({"target_modules": ".*\\.down_proj", "rank_pattern": {"layers.1.*down_proj": 2, "layers.0.*": 5}})",
      R"({"target_parameters": ["1.mlp.experts.gate_up_proj", "2.mlp.experts.down_proj"],
          "use_rslora": true, "rank_pattern": {"gate_up_proj": 4}})",
      R"({"target_modules": ["mlp.down_proj", "shared_experts.up_proj", "q_a_proj"],
          "alpha_pattern": {"q_a_proj": 3.5, "0.mlp.down_proj": 2}})"};
  for (const char* text : configs) {
    SCOPED_TRACE(text);
    const selftest::ScratchFolder scratch;
    const core::AdapterConfig config =
        core::read_adapter_config(nlohmann::json::parse(text), "config");
    const Adapter adapter =
        seeded_adapter(config, base().checkpoint.manifest, "default", 4, "config", true);
    save_adapter(adapter, scratch.path() / "a");
    expect_same(load(scratch.path() / "a"), adapter);
  }
}

TEST(AdapterFile, NarrowValuesAreWidenedAndWideOnesStay) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf, at::kFloat, at::kDouble}) {
    const selftest::ScratchFolder scratch;
    const Adapter adapter = as_leaves(load(kTraining / "lora/adapter"), type, false);
    save_adapter(adapter, scratch.path() / "a");
    const Adapter again = load(scratch.path() / "a");
    for (const auto& [name, values] : again.tensors) {
      EXPECT_EQ(values.scalar_type(), type == at::kDouble ? at::kDouble : at::kFloat);
      EXPECT_TRUE(at::equal(values, adapter.tensors.at(name).to(values.scalar_type())));
    }
  }
}

TEST(AdapterFile, IsNotWrittenOverAnother) {
  const selftest::ScratchFolder scratch;
  const Adapter adapter = load(kTraining / "lora/adapter");
  save_adapter(adapter, scratch.path());
  EXPECT_THROW(save_adapter(adapter, scratch.path()), core::Error);
}

/// lora/adapter, changed by `change`, as a folder; the message with which it is refused.
std::string refusal(const std::function<void(Tensors&)>& change,
                    const std::function<void(const fs::path&)>& harm = {}) {
  const selftest::ScratchFolder scratch;
  Tensors tensors = load(kTraining / "lora/adapter").tensors;
  change(tensors);
  std::vector<core::TensorBytes> bytes;
  for (auto& [name, values] : tensors) {
    values = values.contiguous();
    bytes.push_back({name, to_dtype(values.scalar_type()), values.sizes().vec(), bytes_of(values)});
  }
  core::write_safetensors(scratch.path() / "adapter_model.safetensors", std::move(bytes));
  fs::copy_file(kTraining / "lora/adapter/adapter_config.json",
                scratch.path() / "adapter_config.json");
  if (harm) {
    harm(scratch.path());
  }
  try {
    load(scratch.path());
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    EXPECT_THAT(error.what(), HasSubstr(scratch.path().string()));
    return error.what();
  }
  return "";
}

constexpr const char* kA = "base_model.model.model.layers.0.self_attn.q_a_proj.lora_A.weight";
constexpr const char* kB = "base_model.model.model.layers.0.self_attn.q_a_proj.lora_B.weight";

void rename(Tensors& tensors, const std::function<std::string(const std::string&)>& change) {
  Tensors renamed;
  for (const auto& [name, values] : tensors) {
    renamed.emplace(change(name), values);
  }
  tensors = renamed;
}

TEST(AdapterFileRefuses, TensorsThatAreNotTheConfigurations) {
  EXPECT_EQ(refusal([](Tensors&) {}), "");
  EXPECT_THAT(refusal([](Tensors& t) { t.erase(kA); }),
              HasSubstr(std::string("found 1 missing (") + kA + ")"));
  EXPECT_THAT(refusal([](Tensors& t) { t["x"] = at::zeros({2}); }),
              HasSubstr("found 1 that the configuration adapts nothing by (x)"));
  EXPECT_THAT(refusal([](Tensors& t) { t[kA] = t[kA].t(); }),
              HasSubstr(std::string("1 of another shape (") + kA +
                        ": expected [3, 40], found "
                        "[40, 3], its transpose)"));
  EXPECT_THAT(refusal([](Tensors& t) { std::swap(t[kA], t[kB]); }),
              HasSubstr("2 with A and B swapped"));
  EXPECT_THAT(refusal([](Tensors& t) { t[kA] = t[kA].narrow(0, 0, 2); }),
              HasSubstr("expected [3, 40], found [2, 40]"));
  EXPECT_THAT(refusal([](Tensors& t) { t[kA] = t[kA].to(at::kLong); }),
              HasSubstr("1 of no floating type (" + std::string(kA) + ": I64)"));
}

TEST(AdapterFileRefuses, NamesThatWereWrittenOtherwise) {
  const auto bare = [](const std::string& name) { return name.substr(17); };
  EXPECT_THAT(refusal([&](Tensors& t) { rename(t, bare); }),
              HasSubstr("without its base_model.model. in front"));
  const auto in_memory = [](const std::string& name) { return name_in_memory(name, "default"); };
  EXPECT_THAT(refusal([&](Tensors& t) { rename(t, in_memory); }),
              HasSubstr("with an adapter's name in it"));
  EXPECT_THAT(
      refusal([](Tensors& t) { t["base_model.model.lm_head.base_layer.weight"] = at::zeros({2}); }),
      HasSubstr("a base model's weight: save with save_embedding_layers=False"));
}

TEST(AdapterFileRefuses, NumbersThatAreNone) {
  for (const double bad : {std::nan(""), static_cast<double>(INFINITY)}) {
    EXPECT_THAT(refusal([&](Tensors& t) {
                  t[kB] = t[kB].clone();
                  t[kB][2][1] = bad;
                }),
                HasSubstr(std::string("'") + kB + "': expected finite numbers"));
  }
}

TEST(AdapterFileRefuses, FilesThatAreNone) {
  const auto harmed = [](const std::function<void(const fs::path&)>& harm) {
    return refusal([](Tensors&) {}, harm);
  };
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors"}) {
    EXPECT_THAT(harmed([&](const fs::path& f) { fs::remove(f / file); }), HasSubstr(file));
    EXPECT_THAT(
        harmed([&](const fs::path& f) { fs::resize_file(f / file, fs::file_size(f / file) / 2); }),
        HasSubstr(file));
    EXPECT_THAT(harmed([&](const fs::path& f) { fs::resize_file(f / file, 0); }), HasSubstr(file));
  }
  EXPECT_THAT(harmed([](const fs::path& f) {
                core::write_file_atomically(f / "adapter_config.json", "[]");
              }),
              HasSubstr("expected an object"));
  EXPECT_THROW(load(kTraining / "none"), core::Error);
}

}  // namespace
}  // namespace sparity::tensors
