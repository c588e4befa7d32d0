// The losses and the optimizer of both implementations against other people's
// (fixtures/goldens/training, made by fixtures/oracles).

#include "reference/train/optimizer.h"
#include "src/ops/indexer_kl.h"
#include "src/tensors/recorder.h"
#include "src/train/adamw.h"
#include "suites/cases/bound_model.h"
#include "suites/selftest/golden.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace sparity {
namespace {

namespace fs = std::filesystem;

// Relative L2 that float32 may be away from float64, as for gradients of the LM loss.
constexpr double kTolerance = 2e-5;

fs::path training_folder() { return fs::path(SPARITY_SOURCE_DIR) / "fixtures/goldens/training"; }

void expect_close(const at::Tensor& computed, const at::Tensor& expected, double tolerance,
                  const std::string& name) {
  ASSERT_EQ(computed.sizes(), expected.sizes()) << name;
  const at::Tensor wide = expected.to(at::kDouble);
  const double norm = wide.norm().item().toDouble();
  const double error = computed.to(at::kDouble).sub(wide).norm().item().toDouble();
  EXPECT_LE(error, tolerance * norm) << name << ", norm " << norm;
}

/// A file of training/indexer-kl, named GOLDEN.MODE.float64.safetensors.
struct KlFile {
  std::string golden;
  core::AttentionMode mode;
};

class IndexerKl : public testing::TestWithParam<KlFile> {
 protected:
  IndexerKl()
      : golden_(GetParam().golden),
        file_(training_folder() / "indexer-kl" /
              (GetParam().golden + "." + std::string(core::to_string(GetParam().mode)) +
               ".float64.safetensors")) {}

  void judge(const cases::BoundModel& model) {
    tensors::Recorder recorder({"*.kl_target"});
    const cases::ObjectiveRun run =
        model.objective(golden_.inputs, GetParam().mode, {.lm = false, .kl = core::KlOptions()},
                        tensors::Probe(&recorder));
    expect_close(run.kl_loss, read_tensor(file_, "kl_loss"), kTolerance, "kl_loss");
    expect_close(run.kl_layer_sums, read_tensor(file_, "kl_layer_sums"), kTolerance,
                 "kl_layer_sums");
    ASSERT_EQ(std::ssize(recorder.captured()), golden_.checkpoint.config.num_hidden_layers);
    for (const auto& [name, target] : recorder.captured()) {
      expect_close(target, read_tensor(file_, "trace." + name), kTolerance, name);
    }
    std::size_t gradients = 0;
    for (const auto& [name, entry] : file_.tensors()) {
      if (name.starts_with("grad.")) {
        ++gradients;
        const auto found = run.parameters.find(name.substr(5));
        ASSERT_NE(found, run.parameters.end()) << name;
        expect_close(found->second, read_tensor(file_, name), kTolerance, name);
      }
    }
    EXPECT_GT(gradients, 0U);
    EXPECT_EQ(run.parameters.size(), gradients) << "the KL loss reaches the indexer alone";
  }

  Golden golden_;
  core::SafetensorsFile file_;
};

TEST_P(IndexerKl, CandidateHasTransformersAttentionAsItsTarget) {
  judge(
      cases::BoundModel::candidate(golden_.checkpoint, core::Dtype::kF32, core::Recipe::kOfficial));
}

TEST_P(IndexerKl, ReferenceHasTransformersAttentionAsItsTarget) {
  judge(cases::BoundModel::baseline(golden_.checkpoint, core::Dtype::kF32, core::Recipe::kHf));
}

INSTANTIATE_TEST_SUITE_P(Transformers, IndexerKl,
                         testing::Values(KlFile{"left-padding", core::AttentionMode::kSparse},
                                         KlFile{"left-padding", core::AttentionMode::kDense},
                                         KlFile{"right-padding", core::AttentionMode::kSparse}),
                         [](const testing::TestParamInfo<KlFile>& tested) {
                           return tested.param.golden.substr(0, tested.param.golden.find('-')) +
                                  "_" + std::string(core::to_string(tested.param.mode));
                         });

/// Every head's own keys as the candidate's operands: the latent is all heads' keys side by side,
/// and each head's projection takes its own.
ops::AttentionOperands operands_of(const at::Tensor& query, const at::Tensor& key, double scale) {
  const std::int64_t heads = key.size(2);
  const std::int64_t dim = key.size(3);
  at::Tensor up = at::zeros({heads, dim + 1, heads * dim}, query.options());  // one value row
  for (std::int64_t h = 0; h < heads; ++h) {
    up[h].narrow(0, 0, dim).narrow(1, h * dim, dim).copy_(at::eye(dim, query.options()));
  }
  return {query,
          at::empty({query.size(0), query.size(1), heads, 0}, query.options()),
          key.flatten(2),
          at::empty({key.size(0), key.size(1), 0}, key.options()),
          up.view({heads * (dim + 1), heads * dim}),
          scale};
}

/// The fused indexer loss of megatron-core, on its own inputs.
void judge_megatron(const core::SafetensorsFile& file, const std::string& layer,
                    core::AttentionMode mode) {
  const Golden golden("left-padding");
  const ops::KeyMask mask(golden.inputs);
  const auto input = [&](const char* name) { return read_tensor(file, layer + name); };
  const double scale = std::stod(file.metadata().at("softmax_scale"));
  const std::int64_t index_topk = std::stoll(file.metadata().at("index_topk"));
  const ops::AttentionOperands operands = operands_of(input(".query"), input(".key"), scale);
  const ops::IndexOperands index{input(".index_query").requires_grad_(true),
                                 input(".index_key").requires_grad_(true),
                                 input(".index_weights").requires_grad_(true)};
  ops::KlTeacher teacher{operands, {}, {}};
  {
    const at::NoGradGuard no_gradients;
    if (mode == core::AttentionMode::kSparse) {
      teacher.selected = ops::select_keys(index, mask, index_topk, {});
      teacher.lse = ops::sparse_attention(operands, teacher.selected).lse;
    } else {
      teacher.lse = ops::dense_attention(operands, mask).lse;
    }
  }
  const at::Tensor loss =
      ops::indexer_kl(index, teacher, mask, {.guard = core::KlGuard::kClampTarget})
          .sum.div(ops::counted_rows(mask));
  const std::vector<at::Tensor> gradients =
      torch::autograd::grad({loss}, {index.q, index.k, index.weights});
  const std::string prefix = layer + "." + std::string(core::to_string(mode));
  expect_close(loss.detach(), read_tensor(file, prefix + ".loss"), kTolerance, prefix);
  const std::vector<std::string> names = {"query", "key", "weights"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string name = prefix + ".grad.index_" + names[i];
    expect_close(gradients[i], read_tensor(file, name), kTolerance, name);
  }
}

TEST(MegatronKl, CandidateComputesWhatTheFusedLossDoes) {
  const core::SafetensorsFile file(training_folder() /
                                   "megatron-kl/left-padding.float32.safetensors");
  for (const char* layer : {"layers.0", "layers.1"}) {
    judge_megatron(file, layer, core::AttentionMode::kSparse);
    judge_megatron(file, layer, core::AttentionMode::kDense);
  }
}

/// The settings that metadata `adamw` and `schedule` of the files spell out.
constexpr core::AdamWOptions kAdamW{
    .learning_rate = 3e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};
constexpr core::ScheduleOptions kSchedule{.kind = core::ScheduleKind::kCosine,
                                          .warmup_steps = 4,
                                          .total_steps = 20,
                                          .least_fraction = 0.1};
constexpr double kLargestNorm = 1.0;
const std::set<std::string> kNames = {"matrix", "stack", "vector"};

class AdamWSteps : public testing::TestWithParam<std::string> {
 protected:
  AdamWSteps() : file_(training_folder() / "adamw" / ("steps." + GetParam() + ".safetensors")) {}

  using Tensors = std::map<std::string, at::Tensor>;

  Tensors read(const std::string& prefix) {
    Tensors tensors;
    for (const std::string& name : kNames) {
      tensors[name] = read_tensor(file_, prefix + name);
    }
    return tensors;
  }

  Tensors gradients(std::int64_t step, at::ScalarType type) {
    Tensors found = read("step." + std::to_string(step) + ".grad.");
    for (auto& [name, gradient] : found) {
      gradient = gradient.to(type);
    }
    return found;
  }

  /// What twenty steps of one order of arithmetic may drift from another's.
  double tolerance() const { return GetParam() == "float64" ? 1e-13 : 2e-6; }

  void judge_step(std::int64_t step, const Tensors& parameters, const Tensors& masters) {
    const std::string prefix = "step." + std::to_string(step) + ".";
    for (const std::string& name : kNames) {
      const bool narrow = GetParam() == "bfloat16";
      expect_close(masters.at(name), read_tensor(file_, prefix + (narrow ? "master." : "") + name),
                   tolerance(), prefix + name);
      EXPECT_TRUE(parameters.at(name).equal(masters.at(name).to(parameters.at(name).scalar_type())))
          << prefix << name;
    }
  }

  core::SafetensorsFile file_;
};

TEST_P(AdamWSteps, CandidateStepsAsTorchDoes) {
  const Tensors parameters = read("initial.");
  train::AdamW optimizer(parameters, kAdamW);
  const at::Tensor rates = read_tensor(file_, "rates");
  for (std::int64_t step = 0; step < rates.numel(); ++step) {
    const double rate = train::learning_rate_at(step, kAdamW.learning_rate, kSchedule);
    EXPECT_NEAR(rate, rates[step].item().toDouble(), 1e-15);
    const Tensors found = gradients(step, optimizer.state().at("matrix").master.scalar_type());
    const double norm = train::global_norm(found);
    EXPECT_NEAR(norm, read_tensor(file_, "norms")[step].item().toDouble(), tolerance() * norm);
    optimizer.step(found, rate, train::clip_scale(norm, kLargestNorm));
    Tensors masters;
    for (const auto& [name, state] : optimizer.state()) {
      masters[name] = state.master;
    }
    judge_step(step, parameters, masters);
  }
}

TEST_P(AdamWSteps, ReferenceStepsAsTorchDoes) {
  reference::train::AdamW optimizer(read("initial."), kAdamW);
  const at::Tensor rates = read_tensor(file_, "rates");
  for (std::int64_t step = 0; step < rates.numel(); ++step) {
    const double rate = reference::train::scheduled_rate(kAdamW.learning_rate, kSchedule, step);
    EXPECT_NEAR(rate, rates[step].item().toDouble(), 1e-15);
    Tensors found = gradients(step, optimizer.states().at("matrix").master.scalar_type());
    reference::train::clip_gradients(found, kNames, kLargestNorm);
    optimizer.step(found, rate);
    Tensors masters;
    for (const auto& [name, state] : optimizer.states()) {
      masters[name] = state.master;
    }
    judge_step(step, optimizer.parameters(), masters);
  }
}

INSTANTIATE_TEST_SUITE_P(Torch, AdamWSteps, testing::Values("float64", "float32", "bfloat16"),
                         [](const testing::TestParamInfo<std::string>& tested) {
                           return tested.param;
                         });

}  // namespace
}  // namespace sparity
