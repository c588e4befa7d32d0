// Gradients of both implementations against those that transformers computed in float64
// (fixtures/goldens, made by fixtures/oracles).

#include "suites/cases/bound_model.h"
#include "suites/selftest/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

namespace sparity {
namespace {

// Relative L2 that a parameter's float32 gradient may have from the float64 one. transformers' own
// float32 gradients are 2e-6 away, metadata `float32_distance` of the files.
constexpr double kGradientTolerance = 2e-5;

using Gradients = std::map<std::string, at::Tensor>;

Gradients expected_gradients(const Golden& golden) {
  const core::SafetensorsFile file(golden.folder / "gradients.float64.safetensors");
  const std::string prefix = "grad.";
  Gradients gradients;
  for (const auto& [name, entry] : file.tensors()) {
    EXPECT_TRUE(name.starts_with(prefix)) << name;
    gradients[name.substr(prefix.size())] = read_tensor(file, name);
  }
  return gradients;
}

std::set<std::string> names_of(const Gradients& gradients) {
  std::set<std::string> names;
  for (const auto& [name, gradient] : gradients) {
    names.insert(name);
  }
  return names;
}

/// Names, shapes, and values: a gradient of zeros, as that of an expert which no token chose, must
/// be zeros.
void expect_equal(const Gradients& computed, const Gradients& expected) {
  ASSERT_FALSE(expected.empty());
  ASSERT_EQ(names_of(computed), names_of(expected));
  for (const auto& [name, gradient] : expected) {
    ASSERT_EQ(computed.at(name).sizes(), gradient.sizes()) << name;
    const double norm = gradient.norm().item().toDouble();
    const double error = computed.at(name).to(at::kDouble).sub(gradient).norm().item().toDouble();
    EXPECT_LE(error, kGradientTolerance * norm) << name << ", norm " << norm;
  }
}

class GoldenGradients : public testing::TestWithParam<std::string> {
 protected:
  GoldenGradients() : golden_(GetParam()) {}

  void judge(const cases::BoundModel& model) {
    expect_equal(model.backward(golden_.inputs, core::AttentionMode::kSparse).parameters,
                 expected_gradients(golden_));
  }

  Golden golden_;
};

TEST_P(GoldenGradients, CandidateComputesWhatTransformersDoes) {
  judge(
      cases::BoundModel::candidate(golden_.checkpoint, core::Dtype::kF32, core::Recipe::kOfficial));
}

TEST_P(GoldenGradients, ReferenceComputesWhatTransformersDoes) {
  judge(cases::BoundModel::baseline(golden_.checkpoint, core::Dtype::kF32, core::Recipe::kHf));
}

TEST_P(GoldenGradients, CoverEveryParameterButIndexerAndRouterBias) {
  std::set<std::string> trained;
  for (const core::ParameterSpec& spec : golden_.checkpoint.manifest.parameters()) {
    const bool without = spec.name.find(".indexer.") != std::string::npos ||
                         spec.name.ends_with(".e_score_correction_bias");
    if (!without) {
      trained.insert(spec.name);
    }
  }
  EXPECT_EQ(names_of(expected_gradients(golden_)), trained);
}

INSTANTIATE_TEST_SUITE_P(Transformers, GoldenGradients, testing::ValuesIn(golden_names()),
                         [](const testing::TestParamInfo<std::string>& tested) {
                           std::string name = tested.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace sparity
