// Adapters against PEFT's on transformers (fixtures/goldens/training/lora*, made by
// fixtures/oracles/adapters.py).

#include "reference/model/assemble.h"
#include "reference/model/merge.h"
#include "reference/train/training.h"
#include "src/lora/merge.h"
#include "src/tensors/adapter.h"
#include "src/tensors/at_dtype.h"
#include "src/tensors/recorder.h"
#include "src/train/trainer.h"
#include "suites/cases/bound_model.h"
#include "suites/selftest/golden.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <ostream>
#include <string>
#include <vector>

namespace sparity {
namespace {

namespace fs = std::filesystem;
using tensors::Adapter;
using Tensors = std::map<std::string, at::Tensor>;

/// lm_loss + kl_loss of one pass, and gradients by name in memory.
struct Evaluation {
  Tensors values;  // logits, loss, lm_loss, kl_loss
  Tensors gradients;
};

/// Steps on one batch.
struct Steps {
  std::vector<std::vector<double>> losses;  // before each: loss, lm, kl
  std::vector<Tensors> after;               // each: the adapter's tensors, by name in memory
};

/// The settings that metadata `adamw` of the files spells out; a constant rate, no clipping.
constexpr core::AdamWOptions kAdamW{
    .learning_rate = 2e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-4, .weight_decay = 0.01};

/// What is held against PEFT: a base from `golden` under `adapter`, in float64, float32 or bfloat16
/// activations.
struct Implementation {
  std::string name;
  core::Dtype dtype = core::Dtype::kF64;
  std::function<Evaluation(const Golden&, const Adapter&, const tensors::Probe&)> evaluate;
  std::function<Steps(const Golden&, const Adapter&, std::int64_t steps)> train;  // kAdamW, sparse
  std::function<Tensors(const Golden&, const Adapter&)> merge;  // by checkpoint name

  friend void PrintTo(const Implementation& implementation, std::ostream* out) {
    *out << implementation.name;
  }
};

// --- the reference ------------------------------------------------------------------------------

namespace reference_side {

namespace model = reference::model;
namespace train = reference::train;

const train::ObjectiveOptions kObjective{.kl = core::KlOptions()};

model::ReferenceModel bind(const Golden& golden, const Adapter& adapter, core::Dtype dtype) {
  const tensors::Checkpoint& checkpoint = golden.checkpoint;
  return model::ReferenceModel::bind(
      checkpoint.weights.rounded(checkpoint.manifest, dtype, core::Recipe::kHf), checkpoint.config,
      tensors::to_scalar_type(dtype), core::Recipe::kHf, {adapter});
}

Steps train_steps(const Golden& golden, const Adapter& adapter, core::Dtype dtype,
                  std::int64_t steps) {
  const model::ReferenceModel start = bind(golden, adapter, dtype);
  train::TrainingPlan plan;
  plan.objective = kObjective;
  plan.adamw = kAdamW;
  plan.groups = {{"adapter", kAdamW.learning_rate, {}}};
  for (const auto& [name, tensor] : model::trainable(start)) {
    plan.groups[0].parameters.insert(name);
  }
  train::Training training(start, plan);
  Steps result;
  for (std::int64_t step = 0; step < steps; ++step) {
    const train::StepResult found = training.step({golden.inputs});
    result.losses.push_back({found.loss, found.lm.value(), found.kl.value()});
    result.after.push_back(model::trainable(training.model()));
  }
  return result;
}

Implementation implementation(core::Dtype dtype) {
  return {
      .name = "Reference_" + std::string(core::to_string(dtype)),
      .dtype = dtype,
      .evaluate =
          [dtype](const Golden& golden, const Adapter& adapter, const tensors::Probe& probe) {
            const train::Objective found = train::objective(bind(golden, adapter, dtype),
                                                            golden.inputs, {}, kObjective, probe);
            return Evaluation{.values = {{"logits", found.logits},
                                         {"loss", found.loss},
                                         {"lm_loss", found.lm_loss},
                                         {"kl_loss", found.kl_loss}},
                              .gradients = found.gradients};
          },
      .train = [dtype](const Golden& golden, const Adapter& adapter,
                       std::int64_t steps) { return train_steps(golden, adapter, dtype, steps); },
      .merge =
          [dtype](const Golden& golden, const Adapter& adapter) {
            return model::merged(golden.checkpoint.weights.rounded(golden.checkpoint.manifest,
                                                                   dtype, core::Recipe::kHf),
                                 {adapter});
          }};
}

}  // namespace reference_side

// --- the candidate ------------------------------------------------------------------------------

namespace candidate_side {

tensors::Checkpoint rounded(const Golden& golden, core::Dtype dtype) {
  const tensors::Checkpoint& source = golden.checkpoint;
  return {source.config,
          source.manifest,
          source.weights.rounded(source.manifest, dtype, core::Recipe::kOfficial),
          {}};
}

Steps train_steps(const Golden& golden, const Adapter& adapter, core::Dtype dtype,
                  std::int64_t steps) {
  train::TrainOptions options = train::defaults_of(train::Stage::kJoint);
  options.adamw = kAdamW;
  options.clip = 0.0;
  options.dtype = dtype;
  train::settle(options);
  train::Trainer trainer(golden.checkpoint, options, {adapter});
  Steps result;
  for (std::int64_t step = 0; step < steps; ++step) {
    const train::StepReport found = trainer.step({golden.inputs});
    result.losses.push_back({found.loss.total, found.loss.lm.value(), found.loss.kl.value()});
    Tensors& after = result.after.emplace_back();
    for (const auto& [name, leaf] : trainer.adapters().front().tensors) {
      after.emplace(tensors::name_in_memory(name, adapter.name), leaf.detach().clone());
    }
  }
  return result;
}

Implementation implementation(core::Dtype dtype) {
  return {
      .name = "Candidate_" + std::string(core::to_string(dtype)),
      .dtype = dtype,
      .evaluate =
          [dtype](const Golden& golden, const Adapter& adapter, const tensors::Probe& probe) {
            const cases::ObjectiveRun found =
                cases::BoundModel::candidate(golden.checkpoint, dtype, core::Recipe::kOfficial,
                                             {adapter})
                    .objective(golden.inputs, core::AttentionMode::kSparse,
                               {.kl = core::KlOptions()}, probe);
            return Evaluation{.values = {{"logits", found.logits},
                                         {"loss", found.loss},
                                         {"lm_loss", found.lm_loss},
                                         {"kl_loss", found.kl_loss}},
                              .gradients = found.parameters};
          },
      .train = [dtype](const Golden& golden, const Adapter& adapter,
                       std::int64_t steps) { return train_steps(golden, adapter, dtype, steps); },
      .merge =
          [dtype](const Golden& golden, const Adapter& adapter) {
            const tensors::Checkpoint merged = lora::merged(rounded(golden, dtype), {adapter});
            Tensors changed;
            for (const core::AdapterPair& pair : adapter.layout.pairs()) {
              changed.emplace(pair.parameter, merged.weights.at(pair.parameter));
            }
            return changed;
          }};
}

}  // namespace candidate_side

// --- what PEFT computed -------------------------------------------------------------------------

fs::path training_folder() { return fs::path(SPARITY_SOURCE_DIR) / "fixtures/goldens/training"; }

const std::string kAdapter = "default";

Adapter adapter_of(const Golden& golden, const std::string& folder) {
  return tensors::load_adapter(training_folder() / folder / "adapter", golden.checkpoint.manifest,
                               kAdapter);
}

std::string in_memory(const std::string& file_name) {
  return tensors::name_in_memory(file_name, kAdapter);
}

/// Rows of real tokens: what a padded one gets is nobody's to say.
at::Tensor token_rows(const at::Tensor& logits, const tensors::Inputs& inputs) {
  return logits.flatten(0, 1).index_select(0, inputs.token_mask.flatten().nonzero().squeeze(1));
}

/// Relative L2.
double distance(const at::Tensor& computed, const at::Tensor& expected) {
  EXPECT_EQ(computed.sizes(), expected.sizes());
  const at::Tensor wide = expected.to(at::kDouble);
  return computed.to(at::kDouble).sub(wide).norm().div(wide.norm()).item().toDouble();
}

class PeftAdapters : public testing::TestWithParam<Implementation> {
 protected:
  /// Float64 differs from PEFT's in the order of sums alone: 6e-15 as measured on one pass. Float32
  /// may be as far away as other gradients are: 5e-6 as measured.
  double tolerance() const { return GetParam().dtype == core::Dtype::kF64 ? 1e-13 : 2e-5; }

  void judge_pass(const std::string& folder) const {
    const Adapter adapter = adapter_of(golden_, folder);
    const core::SafetensorsFile file(training_folder() / folder / "expected.float64.safetensors");
    const Evaluation found = GetParam().evaluate(golden_, adapter, {});
    for (const std::string name : {"loss", "lm_loss", "kl_loss"}) {
      EXPECT_LE(distance(found.values.at(name), read_tensor(file, name)), tolerance()) << name;
    }
    EXPECT_LE(distance(token_rows(found.values.at("logits"), golden_.inputs),
                       token_rows(read_tensor(file, "logits"), golden_.inputs)),
              tolerance());
    ASSERT_EQ(found.gradients.size(), adapter.tensors.size()) << "the base is frozen";
    for (const auto& [name, tensor] : adapter.tensors) {
      ASSERT_TRUE(found.gradients.contains(in_memory(name))) << name;
      EXPECT_LE(distance(found.gradients.at(in_memory(name)), read_tensor(file, "grad." + name)),
                tolerance())
          << name;
    }
  }

  const Golden golden_{"left-padding"};
};

TEST_P(PeftAdapters, OnePassIsPefts) { judge_pass("lora"); }

TEST_P(PeftAdapters, OnePassWithRankStabilisedScalingIsPefts) { judge_pass("lora-rslora"); }

TEST_P(PeftAdapters, FiveStepsAreTorchs) {
  const Adapter adapter = adapter_of(golden_, "lora");
  const core::SafetensorsFile file(training_folder() / "lora/steps.float64.safetensors");
  const at::Tensor losses = read_tensor(file, "losses");
  const Steps found = GetParam().train(golden_, adapter, losses.size(0));
  ASSERT_EQ(std::ssize(found.losses), losses.size(0));
  for (std::size_t step = 0; step < found.losses.size(); ++step) {
    EXPECT_LE(distance(at::tensor(found.losses[step], at::kDouble),
                       losses[static_cast<std::int64_t>(step)]),
              tolerance())
        << "step " << step;
  }
  for (const std::size_t step : {0, 4}) {
    ASSERT_EQ(found.after.at(step).size(), adapter.tensors.size());
    for (const auto& [name, tensor] : adapter.tensors) {
      EXPECT_LE(distance(found.after[step].at(in_memory(name)),
                         read_tensor(file, "step." + std::to_string(step) + "." + name)),
                tolerance())
          << name << " after step " << step;
    }
  }
}

TEST_P(PeftAdapters, MergedWeightsArePefts) {
  const Adapter adapter = adapter_of(golden_, "lora");
  const core::SafetensorsFile file(training_folder() / "lora/merged.float32.safetensors");
  const Tensors merged = GetParam().merge(golden_, adapter);
  EXPECT_EQ(merged.size(), file.tensors().size());
  for (const auto& [name, entry] : file.tensors()) {
    ASSERT_TRUE(merged.contains(name)) << name;
    // Of the change: the file's float32 leaves 1e-7 of it open.
    const at::Tensor base = golden_.checkpoint.weights.get(name, at::kDouble);
    EXPECT_LE(distance(merged.at(name) - base, read_tensor(file, name) - base), 1e-6) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Peft, PeftAdapters,
                         testing::Values(reference_side::implementation(core::Dtype::kF64),
                                         reference_side::implementation(core::Dtype::kF32),
                                         candidate_side::implementation(core::Dtype::kF64),
                                         candidate_side::implementation(core::Dtype::kF32)),
                         [](const auto& tested) { return tested.param.name; });

TEST(PeftGoldens, ScalingsAreFarApart) {
  const Golden golden("left-padding");
  const auto logits = [&](const std::string& folder) {
    const core::SafetensorsFile file(training_folder() / folder / "expected.float64.safetensors");
    return token_rows(read_tensor(file, "logits"), golden.inputs);
  };
  EXPECT_GT(distance(logits("lora"), logits("lora-rslora")), 0.1);
}

// --- bfloat16 -----------------------------------------------------------------------------------

class PeftBfloat : public testing::TestWithParam<Implementation> {
 protected:
  PeftBfloat() : adapter_(adapter_of(golden_, "lora")) {}

  /// With PEFT's selections in force.
  Evaluation evaluate(const Implementation& implementation, const Golden& base) const {
    tensors::Recorder forcing;
    for (const auto& [name, entry] : file_.tensors()) {
      if (name.starts_with("trace.")) {
        forcing.force(name.substr(6), read_tensor(file_, name));
      }
    }
    Evaluation found = implementation.evaluate(base, adapter_, tensors::Probe(&forcing));
    EXPECT_TRUE(forcing.unused_forces().empty());
    found.values["logits"] = token_rows(found.values.at("logits"), golden_.inputs);
    return found;
  }

  /// The reference in float64 over the base as a bfloat16 run stores it.
  Evaluation truth() const {
    Golden rounded = golden_;
    rounded.checkpoint.weights = golden_.checkpoint.weights.rounded(
        golden_.checkpoint.manifest, core::Dtype::kBF16, core::Recipe::kHf);
    return evaluate(reference_side::implementation(core::Dtype::kF64), rounded);
  }

  /// Two honest runs err by much the same.
  static void expect_similar_errors(const at::Tensor& computed, const at::Tensor& theirs,
                                    const at::Tensor& truth, double factor,
                                    const std::string& name) {
    const double error = distance(computed, truth);
    const double their_error = distance(theirs, truth);
    EXPECT_GT(their_error, 1e-3) << name;
    EXPECT_LE(error, factor * their_error) << name;
    EXPECT_LE(their_error, factor * error) << name;
  }

  const Golden golden_{"left-padding"};
  const core::SafetensorsFile file_{training_folder() /
                                    "lora-bfloat16/expected.bfloat16.safetensors"};
  const Adapter adapter_;
};

TEST_P(PeftBfloat, ErrsAsPeftDoes) {
  const Evaluation exact = truth();
  const Evaluation found = evaluate(GetParam(), golden_);
  // Factors of the gates: 1.5, and 3 for gradients.
  expect_similar_errors(found.values.at("logits"),
                        token_rows(read_tensor(file_, "logits"), golden_.inputs),
                        exact.values.at("logits"), 1.5, "logits");
  for (const std::string name : {"loss", "lm_loss", "kl_loss"}) {
    // A single number's error is no measure of another's: one roundoff of bfloat16.
    EXPECT_LE(distance(found.values.at(name), read_tensor(file_, name)), 2e-3) << name;
    EXPECT_LE(distance(found.values.at(name), exact.values.at(name)), 2e-3) << name;
  }
  ASSERT_EQ(found.gradients.size(), adapter_.tensors.size());
  for (const auto& [name, tensor] : adapter_.tensors) {
    EXPECT_EQ(found.gradients.at(in_memory(name)).scalar_type(), at::kFloat) << name;
    expect_similar_errors(found.gradients.at(in_memory(name)), read_tensor(file_, "grad." + name),
                          exact.gradients.at(in_memory(name)), 3.0, name);
  }
}

INSTANTIATE_TEST_SUITE_P(Peft, PeftBfloat,
                         testing::Values(reference_side::implementation(core::Dtype::kBF16)),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace sparity
