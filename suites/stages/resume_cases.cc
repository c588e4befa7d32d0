#include "suites/stages/resume_cases.h"

#include "suites/cases/skips.h"
#include "suites/stages/stage_run.h"
#include "suites/stages/telling_options.h"
#include "suites/stages/unequal_batches.h"

#include <fmt/format.h>

#include <functional>
#include <string>
#include <utility>

namespace sparity::suites::stages {

namespace {

using cases::Case;
using cases::SuiteContext;
using train::TrainOptions;

/// Steps before and after the break.
constexpr int kBefore = 2;
constexpr int kAfter = 2;

/// A cosine, so that the rate too tells where the run is.
TrainOptions options_of(const SuiteContext& context, const StageRule& rule) {
  TrainOptions options = telling_options(context, rule);
  options.steps = kBefore + kAfter;
  options.schedule.kind = core::ScheduleKind::kCosine;
  options.schedule.warmup_steps = 1;
  return options;
}

/// A trainer made from what a checkpoint of `trainer` holds, at the place where that is.
train::Trainer resumed(const SuiteContext& context, const train::Trainer& trainer) {
  const Standing standing = Standing::of(trainer);
  tensors::Checkpoint saved = trainer.checkpoint();
  std::map<std::string, at::Tensor> copies;
  for (const auto& [name, tensor] : saved.weights.tensors()) {
    copies.emplace(name, tensor.clone());
  }
  saved.weights = tensors::WeightStore(context.checkpoint().manifest, std::move(copies), "saved");
  train::Trainer next(std::move(saved), trainer.options(), standing.adapters);
  next.restore(standing.steps_done, standing.states);
  return next;
}

void compare_standings(const Standing& found, const Standing& expected, judge::CaseRecord& record) {
  for (const auto& [name, state] : expected.states) {
    const train::AdamWState& own = found.states.at(name);
    record.comparisons.push_back(cases::claim_holds(
        name + ".step", own.step == state.step,
        fmt::format("expected {} steps of AdamW, found {}", state.step, own.step)));
    record.comparisons.push_back(
        cases::compare_bits(name + ".exp_avg", own.exp_avg, state.exp_avg));
    record.comparisons.push_back(
        cases::compare_bits(name + ".exp_avg_sq", own.exp_avg_sq, state.exp_avg_sq));
    record.comparisons.push_back(cases::compare_bits(name + ".master", own.master, state.master));
  }
  for (const auto& [name, weight] : expected.weights) {
    record.comparisons.push_back(cases::compare_bits(name, found.weights.at(name), weight));
  }
}

void judge_resumption(const SuiteContext& context, const TrainOptions& options,
                      const std::vector<tensors::Adapter>& adapters, judge::CaseRecord& record) {
  train::Trainer unbroken = trainer_of(context, options, adapters);
  for (int step = 0; step < kBefore; ++step) {
    unbroken.step(unequal_batches(context, step));
  }
  train::Trainer broken = resumed(context, unbroken);
  compare_standings(Standing::of(broken), Standing::of(unbroken), record);
  for (int step = kBefore; step < kBefore + kAfter; ++step) {
    const train::StepReport expected = unbroken.step(unequal_batches(context, step));
    const train::StepReport found = broken.step(unequal_batches(context, step));
    const auto claim = [&](const char* what, bool holds) {
      record.comparisons.push_back(cases::claim_holds(fmt::format("step_{}.{}", step + 1, what),
                                                      holds, "that of the unbroken run"));
    };
    claim("number", found.step == expected.step);
    claim("rates", found.learning_rates == expected.learning_rates);
    claim("loss", found.loss.total == expected.loss.total);
    claim("norms", found.group_norms == expected.group_norms);
  }
  compare_standings(Standing::of(broken), Standing::of(unbroken), record);
}

Case resume_case(const StageRule& rule, std::function<void(TrainOptions&)> change = {},
                 bool adapted = false) {
  return {"stages", name_of(rule) + "_resumed_is_the_unbroken_run",
          [=](const SuiteContext& context, judge::CaseRecord& record) {
            if (cases::skip_another_model(context, record)) {
              return;
            }
            TrainOptions options = options_of(context, rule);
            if (change) {
              change(options);
            }
            train::settle(options);
            judge_resumption(context, options,
                             adapted ? dropping_adapters(context) : std::vector<tensors::Adapter>(),
                             record);
          }};
}

}  // namespace

std::vector<Case> resume_cases() {
  return {
      resume_case(kSparseRule),
      resume_case(kJointRule, add_every_loss),
      resume_case(kDualLoraRule, {}, /*adapted=*/true),
  };
}

}  // namespace sparity::suites::stages
