// Both implementations against what transformers computed (fixtures/goldens, made by
// fixtures/oracles).

#include "src/core/safetensors.h"
#include "src/tensors/at_dtype.h"
#include "src/tensors/checkpoint.h"
#include "src/tensors/inputs.h"
#include "src/tensors/recorder.h"
#include "suites/cases/bound_model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace sparity {
namespace {

namespace fs = std::filesystem;

// What the released formulas allow two float32 implementations: inverse frequencies one ulp apart
// (D-09) and other orders of sums.
constexpr double kLogitsTolerance = 2e-5;  // relative L2
constexpr double kLossTolerance = 1e-5;    // relative

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry :
       fs::directory_iterator(fs::path(SPARITY_SOURCE_DIR) / "fixtures/goldens")) {
    if (entry.is_directory()) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::ranges::sort(names);
  return names;
}

at::Tensor read(const core::SafetensorsFile& file, const std::string& name) {
  const core::TensorEntry& entry = file.at(name);
  at::Tensor tensor = at::empty(entry.shape, tensors::to_scalar_type(entry.dtype));
  file.read(name, {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()});
  return tensor;
}

/// Rows of real tokens, [tokens, …].
at::Tensor token_rows(const at::Tensor& value, const at::Tensor& token_mask) {
  const at::Tensor rows = value.flatten(0, 1);
  return rows.index_select(0, token_mask.flatten().nonzero().squeeze(1));
}

double relative_l2(const at::Tensor& x, const at::Tensor& expected) {
  const at::Tensor wide = expected.to(at::kDouble);
  return x.to(at::kDouble).sub(wide).norm().div(wide.norm()).item().toDouble();
}

/// Both hold the same items in every row, in any order.
bool same_sets(const at::Tensor& a, const at::Tensor& b) {
  return std::get<0>(a.sort(-1)).equal(std::get<0>(b.sort(-1)));
}

class Golden : public testing::TestWithParam<std::string> {
 protected:
  Golden()
      : folder_(fs::path(SPARITY_SOURCE_DIR) / "fixtures/goldens" / GetParam()),
        checkpoint_(tensors::load_checkpoint(folder_)),
        inputs_(tensors::read_inputs(folder_ / "inputs.safetensors", checkpoint_.config)),
        expected_(folder_ / "expected.float32.safetensors") {}

  void judge(const cases::BoundModel& model,
             cases::LossValue (*loss)(const at::Tensor&, const tensors::Inputs&)) {
    tensors::Recorder recorder({"*topk_indices"});
    const at::Tensor logits =
        model.forward(inputs_, core::AttentionMode::kSparse, tensors::Probe(&recorder));
    const double error = relative_l2(token_rows(logits, inputs_.token_mask),
                                     token_rows(read(expected_, "logits"), inputs_.token_mask));
    EXPECT_LE(error, kLogitsTolerance);
    const double expected_loss = read(expected_, "lm_loss").item().toDouble();
    EXPECT_LE(std::abs(loss(logits, inputs_).loss.item().toDouble() - expected_loss),
              kLossTolerance * expected_loss);
    EXPECT_FALSE(recorder.captured().empty());
    for (const auto& [name, indices] : recorder.captured()) {
      EXPECT_TRUE(same_sets(token_rows(indices, inputs_.token_mask),
                            token_rows(read(expected_, "trace." + name), inputs_.token_mask)))
          << name;
    }
  }

  const at::NoGradGuard no_gradients_;
  fs::path folder_;
  tensors::Checkpoint checkpoint_;
  tensors::Inputs inputs_;
  core::SafetensorsFile expected_;
};

TEST_P(Golden, CandidateComputesWhatTransformersDoes) {
  judge(cases::BoundModel::candidate(checkpoint_, core::Dtype::kF32, core::Recipe::kOfficial),
        cases::candidate_loss);
}

TEST_P(Golden, ReferenceComputesWhatTransformersDoes) {
  judge(cases::BoundModel::baseline(checkpoint_, core::Dtype::kF32, core::Recipe::kHf),
        cases::reference_loss);
}

INSTANTIATE_TEST_SUITE_P(Transformers, Golden, testing::ValuesIn(golden_names()),
                         [](const testing::TestParamInfo<std::string>& tested) {
                           std::string name = tested.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(Goldens, ThereAreSome) { EXPECT_GE(golden_names().size(), 7U); }

}  // namespace
}  // namespace sparity
