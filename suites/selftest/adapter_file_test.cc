#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "src/tensors/adapter.h"
#include "suites/selftest/golden.h"
#include "suites/selftest/scratch_folder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>

#include <cmath>

namespace sparity::tensors {
namespace {

const std::filesystem::path kTraining = SPARITY_SOURCE_DIR "/fixtures/goldens/training";

double distance(const at::Tensor& value, const at::Tensor& truth) {
  return (value - truth).norm().item().toDouble() / truth.norm().item().toDouble();
}

TEST(AdapterFile, PairsOfPeftsFileGiveItsMergedWeights) {
  const Golden golden("left-padding");
  const Adapter adapter =
      load_adapter(kTraining / "lora/adapter", golden.checkpoint.manifest, "default");
  const core::SafetensorsFile merged(kTraining / "lora/merged.float32.safetensors");
  const AdapterPairs pairs = pairs_of({adapter});
  EXPECT_EQ(pairs.size(), merged.tensors().size());
  for (const auto& [parameter, list] : pairs) {
    ASSERT_EQ(list.size(), 1U);
    const LowRankPair& pair = list.front();
    const at::Tensor weight =
        golden.checkpoint.weights.get(parameter, at::kDouble) +
        pair.scaling * at::matmul(pair.b.to(at::kDouble), pair.a.to(at::kDouble));
    EXPECT_LT(distance(read_tensor(merged, parameter).to(at::kDouble), weight), 1e-6) << parameter;
    EXPECT_EQ(pair.scaling, 7.0 / 3.0);
    EXPECT_EQ(pair.name, "default/" + parameter);
  }
}

TEST(AdapterFile, RslorasScalingIsByTheRootOfTheRank) {
  const Golden golden("left-padding");
  const Adapter adapter =
      load_adapter(kTraining / "lora-rslora/adapter", golden.checkpoint.manifest, "default");
  for (const core::AdapterPair& pair : adapter.layout.pairs()) {
    EXPECT_EQ(pair.scaling, 7.0 / std::sqrt(3.0));
  }
}

TEST(AdapterFile, WhatIsWrittenIsReadAsTheSameAdapter) {
  const Golden golden("left-padding");
  for (const char* name : {"lora", "lora-rslora"}) {
    const selftest::ScratchFolder scratch;
    const Adapter adapter =
        load_adapter(kTraining / name / "adapter", golden.checkpoint.manifest, "default");
    save_adapter(adapter, scratch.path() / "a");
    const Adapter again = load_adapter(scratch.path() / "a", golden.checkpoint.manifest, "default");
    ASSERT_EQ(again.layout.pairs().size(), adapter.layout.pairs().size());
    for (std::size_t i = 0; i < again.layout.pairs().size(); ++i) {
      const core::AdapterPair& pair = adapter.layout.pairs()[i];
      EXPECT_EQ(again.layout.pairs()[i].parameter, pair.parameter);
      EXPECT_EQ(again.layout.pairs()[i].a, pair.a);
      EXPECT_EQ(again.layout.pairs()[i].rank, pair.rank);
      EXPECT_EQ(again.layout.pairs()[i].scaling, pair.scaling);
    }
    for (const auto& [tensor, values] : adapter.tensors) {
      EXPECT_TRUE(at::equal(again.tensors.at(tensor), values)) << tensor;
    }
  }
}

}  // namespace
}  // namespace sparity::tensors
