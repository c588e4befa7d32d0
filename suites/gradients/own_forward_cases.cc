#include "suites/gradients/own_forward_cases.h"

#include "src/model/model.h"
#include "src/ops/loss.h"
#include "src/tensors/recorder.h"
#include "suites/cases/skips.h"
#include "suites/cases/trace.h"
#include "suites/gradients/backward_runs.h"
#include "suites/gradients/fused_ops.h"
#include "suites/judge/tolerances.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace sparity::suites::gradients {

namespace {

using cases::SuiteContext;

double dot(const at::Tensor& a, const at::Tensor& b) {
  return a.to(at::kDouble).mul(b).sum().item<double>();
}

/// ⟨J·v, w⟩ for a direction v of input `i`, by central differences of the forward alone: two steps,
/// and Richardson's combination, whose error is of fourth order.
double directional(const FusedOp& op, std::size_t i, const at::Tensor& v, const at::Tensor& w) {
  const auto difference = [&](double step) {
    const auto at_step = [&](double h) {
      std::vector<at::Tensor> inputs = op.inputs;
      inputs[i] = inputs[i].add(v, h);
      return dot(op.run(inputs), w);
    };
    return (at_step(step) - at_step(-step)) / (2 * step);
  };
  constexpr double kStep = 1e-3;
  return (4 * difference(kStep / 2) - difference(kStep)) / 3;
}

judge::Comparison adjoint(const SuiteContext& context, const FusedOp& op, std::size_t i,
                          const at::Tensor& w, const at::Tensor& gradient) {
  const at::Tensor v =
      context.normal(fmt::format("gradients.v{}", i), op.inputs[i].sizes()).to(at::kDouble);
  const double forward = directional(op, i, v, w);
  const double backward = dot(gradient, v);
  // Of the size of the terms, not of their sum, which may cancel.
  const double scale = gradient.norm().item<double>() * v.norm().item<double>();
  judge::Comparison comparison;
  comparison.tensor = fmt::format("grad.{}.{}", op.name, i);
  comparison.gates.push_back(judge::make_gate(
      "adjoint", std::abs(forward - backward), 1e-9 * scale, true,
      fmt::format("⟨J·v, w⟩ = {:.12e} by differences, ⟨v, Jᵀ·w⟩ = {:.12e}", forward, backward)));
  return comparison;
}

void judge_adjoints(const SuiteContext& context, judge::CaseRecord& record) {
  for (const FusedOp& op : fused_ops(context, at::kDouble)) {
    const at::Tensor w = context.normal("gradients.w", op.run(op.inputs).sizes()).to(at::kDouble);
    const std::vector<at::Tensor> gradients = gradients_of(op, w);
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
      record.comparisons.push_back(
          gradients[i].defined()
              ? adjoint(context, op, i, w, gradients[i])
              : cases::claim_holds(fmt::format("grad.{}.{}", op.name, i), false, "has a gradient"));
    }
  }
}

/// The candidate in float64 with every parameter moved along a seeded direction, choices fixed.
class Line {
 public:
  explicit Line(const SuiteContext& context)
      : context_(context),
        weights_(context.checkpoint().weights.rounded(context.checkpoint().manifest,
                                                      core::Dtype::kF64, core::Recipe::kOfficial)),
        choices_(choices()) {
    for (const auto& [name, tensor] : weights_.tensors()) {
      directions_.emplace(name, context.normal("gradients.line." + name, tensor.sizes())
                                    .to(at::kDouble)
                                    .mul(tensor.std(/*unbiased=*/false).item<double>() + 1e-3));
    }
  }

  double loss(double step) const {
    std::map<std::string, at::Tensor> moved;
    for (const auto& [name, tensor] : weights_.tensors()) {
      moved.emplace(name, tensor.add(directions_.at(name), step));
    }
    return run(tensors::WeightStore(context_.checkpoint().manifest, std::move(moved), "moved"))
        .item<double>();
  }

  /// ⟨gradient, direction⟩ at step 0.
  double slope() const {
    const at::AutoGradMode recording(true);
    const tensors::WeightStore leaves = weights_.as_leaves(context_.checkpoint().manifest);
    run(leaves).backward();
    double sum = 0;
    for (const auto& [name, leaf] : leaves.tensors()) {
      sum += leaf.grad().defined() ? dot(leaf.grad(), directions_.at(name)) : 0.0;
    }
    return sum;
  }

 private:
  cases::Forced choices() const {
    tensors::Recorder recorder({"*.topk_indices"});
    model::Model(context_.config(), weights_)
        .forward(context_.inputs(), {}, tensors::Probe(&recorder));
    return recorder.captured();
  }

  at::Tensor run(const tensors::WeightStore& weights) const {
    tensors::Recorder recorder;
    for (const auto& [name, choice] : choices_) {
      recorder.force(name, choice);
    }
    const tensors::Inputs& inputs = context_.inputs();
    const at::Tensor logits =
        model::Model(context_.config(), weights).forward(inputs, {}, tensors::Probe(&recorder));
    return ops::lm_loss(logits, inputs.labels, inputs.token_mask).loss;
  }

  const SuiteContext& context_;
  tensors::WeightStore weights_;
  cases::Forced choices_;
  std::map<std::string, at::Tensor> directions_;
};

/// Of the straight line with the least squares of errors in y.
double fitted_slope(const std::vector<std::pair<double, double>>& points) {
  double mean_x = 0;
  double mean_y = 0;
  for (const auto& [x, y] : points) {
    mean_x += x / static_cast<double>(points.size());
    mean_y += y / static_cast<double>(points.size());
  }
  double above = 0;
  double below = 0;
  for (const auto& [x, y] : points) {
    above += (x - mean_x) * (y - mean_y);
    below += (x - mean_x) * (x - mean_x);
  }
  return above / below;
}

/// A function of one number, and what its derivative at 0 is said to be.
struct Curve {
  std::string name;
  std::function<double(double)> value;
  double slope;
  double scale;  // size of what is summed up to a value
};

/// |(f(h) − f(−h))/2 − h·f'(0)| must fall as h³: the exponent, fitted over the three smallest of h
/// = 2⁻⁷ … 2⁻¹² whose remainder stands clear of f's own rounding, misses 3 by 0.1 at most. A wrong
/// f' leaves a remainder that falls as h, the sooner the smaller h is. Terms of even order cancel,
/// and what follows the third falls off by 4 from step to step. Where fewer than three stand clear,
/// as of a linear f or in a model of zeros, there is no exponent: the smallest step's must not
/// either.
judge::Comparison judged_remainder(const Curve& curve) {
  constexpr int kFirst = 7;
  constexpr int kLast = 12;
  constexpr std::size_t kFitted = 3;
  // Sixteen times what rounding is allowed: the logarithm of a remainder is then off by 0.1 at
  // most.
  const double clear =
      16 * judge::kF64Factor * core::unit_roundoff(core::Dtype::kF64) * curve.scale;
  double last = 0;
  std::vector<std::pair<double, double>> points;
  for (int i = kFirst; i <= kLast; ++i) {
    const double h = std::ldexp(1.0, -i);
    last = std::abs((curve.value(h) - curve.value(-h)) / 2 - h * curve.slope);
    if (!(last <= clear)) {
      points.emplace_back(std::log2(h), std::log2(last));
    }
  }
  judge::Comparison comparison;
  comparison.tensor = curve.name;
  if (points.size() < kFitted) {
    comparison.gates.push_back(
        judge::make_gate("Taylor", last, clear, true,
                         "remainder of the smallest step: too few stand clear of rounding"));
  } else {
    const double exponent = fitted_slope({points.end() - kFitted, points.end()});
    // std::max would hide a NaN.
    const double missing = exponent >= 3 ? 0.0 : 3 - exponent;
    comparison.gates.push_back(
        judge::make_gate("Taylor", missing, 0.1, true,
                         fmt::format("what the exponent of the remainder, {:.4f}, misses 3 by; "
                                     "slope {:.9e}",
                                     exponent, curve.slope)));
  }
  return comparison;
}

void judge_remainder(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const Line line(context);
  record.comparisons.push_back(judged_remainder({.name = "loss along a line",
                                                 .value = [&](double h) { return line.loss(h); },
                                                 .slope = line.slope(),
                                                 .scale = line.loss(0)}));
}

/// ⟨op(x + h·v), w⟩ with every input on its way.
void judge_remainders_of_operations(const SuiteContext& context, judge::CaseRecord& record) {
  for (const FusedOp& op : fused_ops(context, at::kDouble)) {
    const at::Tensor output = op.run(op.inputs);
    const at::Tensor w = context.normal("gradients.w", output.sizes()).to(at::kDouble);
    const std::vector<at::Tensor> gradients = gradients_of(op, w);
    std::vector<at::Tensor> directions;
    double slope = 0;
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
      directions.push_back(
          context.normal(fmt::format("gradients.v{}", i), op.inputs[i].sizes()).to(at::kDouble));
      slope += gradients[i].defined() ? dot(gradients[i], directions[i]) : 0.0;
    }
    const auto value = [&](double h) {
      std::vector<at::Tensor> moved;
      for (std::size_t i = 0; i < op.inputs.size(); ++i) {
        moved.push_back(op.inputs[i].add(directions[i], h));
      }
      return dot(op.run(moved), w);
    };
    record.comparisons.push_back(
        judged_remainder({.name = op.name,
                          .value = value,
                          .slope = slope,
                          .scale = output.norm().item<double>() * w.norm().item<double>()}));
  }
}

}  // namespace

std::vector<cases::Case> own_forward_cases() {
  return {
      cases::of_our_implementation(
          {"gradients", "of_fused_operations_are_the_adjoints_of_their_forwards", judge_adjoints}),
      cases::of_our_implementation({"gradients",
                                    "of_fused_operations_leave_a_remainder_of_third_order",
                                    judge_remainders_of_operations}),
      cases::of_our_implementation(
          {"gradients", "leave_a_remainder_of_third_order", judge_remainder}),
  };
}

}  // namespace sparity::suites::gradients
