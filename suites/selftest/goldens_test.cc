// Both implementations against what transformers computed (fixtures/goldens, made by
// fixtures/oracles).

#include "src/tensors/recorder.h"
#include "suites/cases/bound_model.h"
#include "suites/cases/case.h"
#include "suites/judge/gates.h"
#include "suites/selftest/golden.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

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
  GoldenValues() : golden_(GetParam()) {}

  /// What transformers computed in that dtype.
  core::SafetensorsFile expected(core::Dtype dtype) const {
    return core::SafetensorsFile(
        golden_.folder / ("expected." + std::string(core::to_string(dtype)) + ".safetensors"));
  }

  at::Tensor rows(const at::Tensor& value) const {
    return token_rows(value, golden_.inputs.token_mask);
  }

  void judge(core::Dtype dtype, const cases::BoundModel& model,
             cases::LossValue (*loss)(const at::Tensor&, const tensors::Inputs&)) {
    const core::SafetensorsFile file = expected(dtype);
    tensors::Recorder recorder({"*topk_indices"});
    const at::Tensor logits =
        model.forward(golden_.inputs, core::AttentionMode::kSparse, tensors::Probe(&recorder));
    EXPECT_LE(relative_l2(rows(logits), rows(read_tensor(file, "logits"))), kLogitsTolerance);
    const double expected_loss = read_tensor(file, "lm_loss").item().toDouble();
    EXPECT_LE(std::abs(loss(logits, golden_.inputs).loss.item().toDouble() - expected_loss),
              kLossTolerance * expected_loss);
    EXPECT_FALSE(recorder.captured().empty());
    for (const auto& [name, indices] : recorder.captured()) {
      EXPECT_TRUE(same_sets(rows(indices), rows(read_tensor(file, "trace." + name)))) << name;
    }
  }

  /// Logits under transformers' choices of keys and experts.
  at::Tensor logits_under(const core::SafetensorsFile& choices,
                          const cases::BoundModel& model) const {
    constexpr std::string_view kTrace = "trace.";
    tensors::Recorder recorder(std::vector<std::string>{});
    for (const auto& [name, entry] : choices.tensors()) {
      if (name.starts_with(kTrace) && name.ends_with("topk_indices")) {
        recorder.force(name.substr(kTrace.size()), read_tensor(choices, name));
      }
    }
    return model.forward(golden_.inputs, core::AttentionMode::kSparse, tensors::Probe(&recorder));
  }

  const at::NoGradGuard no_gradients_;
  Golden golden_;
};

/// In float64 transformers still takes its norms and routers in float32.
constexpr core::Dtype kExactDtypes[] = {core::Dtype::kF32, core::Dtype::kF64};

TEST_P(GoldenValues, CandidateComputesWhatTransformersDoes) {
  for (const core::Dtype dtype : kExactDtypes) {
    judge(dtype, cases::BoundModel::candidate(golden_.checkpoint, dtype, core::Recipe::kOfficial),
          cases::candidate_loss);
  }
}

TEST_P(GoldenValues, ReferenceComputesWhatTransformersDoes) {
  for (const core::Dtype dtype : kExactDtypes) {
    judge(dtype, cases::BoundModel::baseline(golden_.checkpoint, dtype, core::Recipe::kHf),
          cases::reference_loss);
  }
}

/// In bfloat16 transformers takes the candidate's place: under its own choices its logits pass the
/// gates with the reference of recipe hf as the baseline.
TEST_P(GoldenValues, TransformersPassesInBfloat16UnderItsOwnRecipe) {
  const core::SafetensorsFile file = expected(core::Dtype::kBF16);
  constexpr core::Dtype kDtype = core::Dtype::kBF16;
  constexpr core::Recipe kRecipe = core::Recipe::kHf;
  // The file has logits widened to float32, and so must the baseline's be.
  const auto judged = [&](const at::Tensor& logits, at::ScalarType type) {
    return cases::judged(rows(logits).to(type));
  };
  const judge::Tensor own = judged(read_tensor(file, "logits"), at::kFloat);
  const judge::Tensor baseline =
      judged(logits_under(file, cases::BoundModel::baseline(golden_.checkpoint, kDtype, kRecipe)),
             at::kFloat);
  const judge::Tensor truth =
      judged(logits_under(file, cases::BoundModel::truth(golden_.checkpoint, kDtype, kRecipe)),
             at::kDouble);
  judge::TensorClaim claim;
  claim.tensor = "logits";
  claim.computed_in = kDtype;
  claim.reduction_length =
      judge::layer_reduction_length(golden_.checkpoint.config, golden_.inputs.input_ids.size(1));
  const judge::Comparison comparison = judge::compare(claim, own, &baseline, truth);
  EXPECT_TRUE(comparison.passed());
  for (const judge::Gate& gate : comparison.gates) {
    EXPECT_TRUE(gate.ok || !gate.blocking)
        << gate.name << ": " << gate.lhs << " > " << gate.rhs << ", " << gate.note;
  }
  EXPECT_GT(comparison.rms_baseline_error, 0);
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
