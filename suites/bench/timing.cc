#include "suites/bench/timing.h"

#include "src/core/error.h"
#include "src/core/profile_scope.h"
#include "src/ops/loss.h"
#include "suites/bench/model_work.h"
#include "suites/bench/op_profile.h"
#include "suites/cases/allocation_counter.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

namespace sparity::bench {

namespace {

template <typename Work>
double seconds_of(Work work) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The profile of one pass, and how long the pass took.
std::pair<double, std::vector<OpSeconds>> profiled_pass(const BenchedModel& model,
                                                        const BenchPlan& plan, bool backward) {
  OpProfile profile;
  const double seconds = seconds_of([&] { model.pass(plan.inputs, plan.attention, backward); });
  return {seconds, profile.seconds()};
}

}  // namespace

BenchedModel::BenchedModel(const tensors::Checkpoint& checkpoint, core::Dtype dtype)
    : dtype_(dtype),
      leaves_(checkpoint.weights.rounded(checkpoint.manifest, dtype, core::Recipe::kOfficial)
                  .as_leaves(checkpoint.manifest)),
      model_(checkpoint.config, leaves_) {}

void BenchedModel::pass(const tensors::Inputs& inputs, core::AttentionMode attention, bool backward,
                        const std::function<void(std::string_view)>& ended) const {
  const auto tell = [&](std::string_view phase) {
    if (ended) {
      ended(phase);
    }
  };
  const at::AutoGradMode recording(backward);
  const at::Tensor logits = model_.forward(inputs, {.attention = attention});
  if (!backward) {
    tell("forward");
    return;
  }
  const at::Tensor loss = core::profiled(
      "loss", [&] { return ops::lm_loss(logits, inputs.labels, inputs.token_mask).loss; });
  tell("forward");
  loss.backward();
  tell("backward");
  for (const auto& [name, leaf] : leaves_.tensors()) {
    leaf.mutable_grad().reset();
  }
}

std::vector<double> pass_seconds(const BenchedModel& model, const BenchPlan& plan, bool backward) {
  std::vector<double> seconds;
  for (int i = 0; i <= plan.repeat; ++i) {
    const double each = seconds_of([&] { model.pass(plan.inputs, plan.attention, backward); });
    if (i > 0) {
      seconds.push_back(each);
    }
  }
  return seconds;
}

std::vector<reports::OpTime> op_times(const BenchedModel& model, const core::ModelConfig& config,
                                      const BenchPlan& plan, bool backward) {
  profiled_pass(model, plan, backward);
  auto fastest = profiled_pass(model, plan, backward);
  for (int i = 1; i < plan.repeat; ++i) {
    fastest = std::min(std::move(fastest), profiled_pass(model, plan, backward),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  std::map<std::string, OpWork> works =
      model_work(config, plan.inputs, plan.attention, model.dtype());
  std::vector<reports::OpTime> times;
  for (const OpSeconds& op : fastest.second) {
    OpWork work = works[op.op];
    works.erase(op.op);
    if (!backward) {
      work.backward = {};
    }
    times.push_back({op.op, op.forward, op.backward, work.forward.flops, work.backward.flops,
                     work.forward.bytes, work.backward.bytes});
  }
  if (!backward) {
    works.erase("loss");
  }
  SPARITY_CHECK(works.empty(), "operation did not run: " + works.begin()->first);
  return times;
}

std::vector<reports::MemoryPhase> memory_phases(const std::function<tensors::Checkpoint()>& open,
                                                core::Dtype dtype, const BenchPlan& plan,
                                                bool backward) {
  cases::AllocationCounter counter;
  std::vector<reports::MemoryPhase> phases;
  const auto note = [&](std::string phase) {
    const cases::AllocationCounts counts = counter.counts();
    phases.push_back({std::move(phase), counts.live_bytes, counts.peak_bytes});
    counter.restart();
  };
  const std::unique_ptr<const BenchedModel> model = [&] {
    const tensors::Checkpoint checkpoint = open();
    return std::make_unique<const BenchedModel>(checkpoint, dtype);
  }();
  note("load");
  model->pass(plan.inputs, plan.attention, false);
  note("forward alone");
  if (backward) {
    model->pass(plan.inputs, plan.attention, true, [&](std::string_view phase) {
      note(phase == "forward" ? "forward, kept for backward" : "backward");
    });
  }
  return phases;
}

}  // namespace sparity::bench
