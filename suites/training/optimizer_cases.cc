#include "suites/training/optimizer_cases.h"

#include "reference/train/optimizer.h"
#include "src/train/adamw.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>

#include <cmath>

namespace sparity::suites::training {

namespace {

using cases::Case;
using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;
using core::AdamWOptions;

namespace reference = sparity::reference::train;

constexpr std::int64_t kSteps = 20;
constexpr std::int64_t kMissingStep = 7;  // the second parameter has no gradient then
constexpr double kRate = 3e-3;
constexpr double kLargestNorm = 5.0;

TensorMap optimizer_inputs(const SuiteContext& context) {
  TensorMap in;
  in["first"] = context.normal("optimizer.first", {13, 7});
  in["second"] = context.normal("optimizer.second", {29});
  in["first.gradients"] = context.normal("optimizer.first.gradients", {kSteps, 13, 7}).mul(0.3);
  in["second.gradients"] = context.normal("optimizer.second.gradients", {kSteps, 29}).mul(0.3);
  return in;
}

std::map<std::string, at::Tensor> gradients_at(const TensorMap& in, std::int64_t step) {
  std::map<std::string, at::Tensor> gradients = {{"first", in.at("first.gradients")[step].clone()}};
  if (step != kMissingStep) {
    gradients.emplace("second", in.at("second.gradients")[step].clone());
  }
  return gradients;
}

double rate_at(std::int64_t step) { return kRate / (1 + 0.1 * static_cast<double>(step)); }

Outputs candidate_steps(const TensorMap& in, const AdamWOptions& options) {
  std::map<std::string, at::Tensor> parameters = {{"first", in.at("first").clone()},
                                                  {"second", in.at("second").clone()}};
  train::AdamW optimizer(parameters, options, {"second"});
  for (std::int64_t step = 0; step < kSteps; ++step) {
    const auto gradients = gradients_at(in, step);
    optimizer.step(gradients, rate_at(step),
                   train::clip_scale(train::global_norm(gradients), kLargestNorm));
  }
  Outputs outputs;
  for (const auto& [name, state] : optimizer.state()) {
    outputs.emplace_back(name + ".master", state.master);
    outputs.emplace_back(name + ".exp_avg", state.exp_avg);
    outputs.emplace_back(name + ".exp_avg_sq", state.exp_avg_sq);
    outputs.emplace_back(name + ".step", at::scalar_tensor(state.step, at::kLong));
    outputs.emplace_back(name + ".parameter", parameters.at(name));
  }
  return outputs;
}

Outputs reference_steps(const TensorMap& in, const AdamWOptions& options) {
  reference::AdamW optimizer({{"first", in.at("first")}, {"second", in.at("second")}}, options,
                             {"second"});
  for (std::int64_t step = 0; step < kSteps; ++step) {
    reference::NamedTensors gradients = gradients_at(in, step);
    for (auto& [name, gradient] : gradients) {
      gradient = gradient.to(optimizer.states().at(name).master.scalar_type());
    }
    reference::clip_gradients(gradients, {"first", "second"}, kLargestNorm);
    optimizer.step(gradients, rate_at(step));
  }
  Outputs outputs;
  const reference::NamedTensors parameters = optimizer.parameters();
  for (const auto& [name, state] : optimizer.states()) {
    outputs.emplace_back(name + ".master", state.master);
    outputs.emplace_back(name + ".exp_avg", state.m);
    outputs.emplace_back(name + ".exp_avg_sq", state.v);
    outputs.emplace_back(name + ".step", at::scalar_tensor(state.step, at::kLong));
    outputs.emplace_back(name + ".parameter", parameters.at(name));
  }
  return outputs;
}

Case adamw_case(const std::string& name, const AdamWOptions& options) {
  return cases::op_case({
      .suite = "training",
      .name = name,
      .inputs = optimizer_inputs,
      .reference = [options](const SuiteContext&,
                             const TensorMap& in) { return reference_steps(in, options); },
      .candidate = [options](const SuiteContext&,
                             const TensorMap& in) { return candidate_steps(in, options); },
      .exact = {"first.step", "second.step"},
  });
}

/// Both sides' rates over a whole run and beyond its end.
void judge_schedules(const SuiteContext&, judge::CaseRecord& record) {
  for (const auto& [kind, word] : core::option_words<core::ScheduleKind>()) {
    for (const std::int64_t warmup : {0, 5, 20}) {
      const core::ScheduleOptions schedule{kind, warmup, 20, 0.1};
      double worst = 0;
      for (std::int64_t step = 0; step < 25; ++step) {
        worst = std::max(worst, std::abs(train::learning_rate_at(step, kRate, schedule) -
                                         reference::scheduled_rate(kRate, schedule, step)));
      }
      judge::Comparison comparison;
      comparison.tensor = fmt::format("rate.{}.warmup_{}", word, warmup);
      comparison.gates.push_back(
          judge::make_gate("holds", worst, 4e-16 * kRate * 4, true, "rates of 25 steps"));
      record.comparisons.push_back(comparison);
    }
  }
}

/// A norm that is not finite must reach the parameters, or nobody notices.
void judge_clipping(const SuiteContext& context, judge::CaseRecord& record) {
  const TensorMap in = optimizer_inputs(context);
  auto gradients = gradients_at(in, 0);
  const double norm = train::global_norm(gradients);
  record.comparisons.push_back(cases::claim_holds(
      "scale.small", train::clip_scale(norm, 2 * norm) == 1.0, "a small norm is left alone"));
  const double clipped = norm * train::clip_scale(norm, norm / 4);
  record.comparisons.push_back(cases::claim_holds(
      "scale.large", clipped < norm / 4 && clipped > norm / 4.001, "a large one is cut"));
  gradients.at("first")[0][0] = std::numeric_limits<double>::quiet_NaN();
  record.comparisons.push_back(cases::claim_holds(
      "scale.nan", std::isnan(train::clip_scale(train::global_norm(gradients), 1.0)),
      "a NaN stays one"));
}

}  // namespace

std::vector<Case> optimizer_cases() {
  return {
      adamw_case("adamw_twenty_steps", {}),
      adamw_case("adamw_with_other_betas_and_large_decay",
                 {.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.5}),
      {"training", "schedules", judge_schedules},
      {"training", "clipping", judge_clipping},
  };
}

}  // namespace sparity::suites::training
