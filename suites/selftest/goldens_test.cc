// Both implementations against what transformers computed (fixtures/goldens, made by
// fixtures/oracles).

#include "src/tensors/recorder.h"
#include "suites/cases/bound_model.h"
#include "suites/selftest/golden.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace sparity {
namespace {

// What the released formulas allow two float32 implementations: inverse frequencies one ulp apart
// (D-09) and other orders of sums.
constexpr double kLogitsTolerance = 2e-5;  // relative L2
constexpr double kLossTolerance = 1e-5;    // relative

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

class GoldenValues : public testing::TestWithParam<std::string> {
 protected:
  GoldenValues()
      : golden_(GetParam()), expected_(golden_.folder / "expected.float32.safetensors") {}

  void judge(const cases::BoundModel& model,
             cases::LossValue (*loss)(const at::Tensor&, const tensors::Inputs&)) {
    tensors::Recorder recorder({"*topk_indices"});
    const at::Tensor logits =
        model.forward(golden_.inputs, core::AttentionMode::kSparse, tensors::Probe(&recorder));
    const double error =
        relative_l2(token_rows(logits, golden_.inputs.token_mask),
                    token_rows(read_tensor(expected_, "logits"), golden_.inputs.token_mask));
    EXPECT_LE(error, kLogitsTolerance);
    const double expected_loss = read_tensor(expected_, "lm_loss").item().toDouble();
    EXPECT_LE(std::abs(loss(logits, golden_.inputs).loss.item().toDouble() - expected_loss),
              kLossTolerance * expected_loss);
    EXPECT_FALSE(recorder.captured().empty());
    for (const auto& [name, indices] : recorder.captured()) {
      EXPECT_TRUE(
          same_sets(token_rows(indices, golden_.inputs.token_mask),
                    token_rows(read_tensor(expected_, "trace." + name), golden_.inputs.token_mask)))
          << name;
    }
  }

  const at::NoGradGuard no_gradients_;
  Golden golden_;
  core::SafetensorsFile expected_;
};

TEST_P(GoldenValues, CandidateComputesWhatTransformersDoes) {
  judge(
      cases::BoundModel::candidate(golden_.checkpoint, core::Dtype::kF32, core::Recipe::kOfficial),
      cases::candidate_loss);
}

TEST_P(GoldenValues, ReferenceComputesWhatTransformersDoes) {
  judge(cases::BoundModel::baseline(golden_.checkpoint, core::Dtype::kF32, core::Recipe::kHf),
        cases::reference_loss);
}

INSTANTIATE_TEST_SUITE_P(Transformers, GoldenValues, testing::ValuesIn(golden_names()),
                         [](const testing::TestParamInfo<std::string>& tested) {
                           std::string name = tested.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(Goldens, ThereAreSome) { EXPECT_GE(golden_names().size(), 7U); }

}  // namespace
}  // namespace sparity
