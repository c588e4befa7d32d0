// Gradients that are judged as one tensor.

#include "src/core/error.h"
#include "suites/judge/gradient_group.h"

#include <gtest/gtest.h>

namespace sparity::judge {
namespace {

TEST(GradientGroup, ALayersExpertsGoTogetherAndOthersStayAlone) {
  EXPECT_EQ(gradient_group("model.layers.3.mlp.experts.7.up_proj.weight"),
            "model.layers.3.mlp.experts.up_proj.weight");
  EXPECT_EQ(gradient_group("grad.model.layers.3.mlp.experts.117.down_proj.weight"),
            "grad.model.layers.3.mlp.experts.down_proj.weight");
  for (const char* name :
       {"model.layers.3.mlp.shared_experts.up_proj.weight", "model.layers.3.mlp.gate.weight",
        "model.layers.3.mlp.experts.up_proj.weight", "model.layers.3.mlp.experts.7",
        "model.norm.weight", ""}) {
    EXPECT_EQ(gradient_group(name), name);
  }
}

TEST(GradientGroup, StackedKeepsEveryMemberInOrder) {
  const Tensor a{.dtype = core::Dtype::kF32, .shape = {1, 2}, .values = {1, 2}};
  const Tensor b{.dtype = core::Dtype::kF32, .shape = {1, 2}, .values = {3, 4}};
  const Tensor both = stacked({&a, &b});
  EXPECT_EQ(both.shape, (std::vector<std::int64_t>{2, 1, 2}));
  EXPECT_EQ(both.values, (std::vector<double>{1, 2, 3, 4}));
  EXPECT_EQ(stacked({&a}).shape, a.shape);
}

TEST(GradientGroup, StackedRefusesTensorsThatDiffer) {
  const Tensor a{.dtype = core::Dtype::kF32, .shape = {1, 2}, .values = {1, 2}};
  const Tensor other_shape{.dtype = core::Dtype::kF32, .shape = {2}, .values = {1, 2}};
  const Tensor other_dtype{.dtype = core::Dtype::kF64, .shape = {1, 2}, .values = {1, 2}};
  EXPECT_THROW(stacked({}), core::Error);
  EXPECT_THROW(stacked({&a, &other_shape}), core::Error);
  EXPECT_THROW(stacked({&a, &other_dtype}), core::Error);
}

}  // namespace
}  // namespace sparity::judge
