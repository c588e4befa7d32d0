#include "suites/cases/gradients.h"

#include "src/tensors/recorder.h"
#include "suites/cases/case.h"
#include "suites/cases/magnitudes.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/gates.h"
#include "suites/judge/gradient_group.h"
#include "suites/judge/name_sets.h"

#include <ATen/ops/stack.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <ranges>
#include <span>

namespace sparity::cases {

namespace {

/// K of a whole backward pass: every layer's reductions, once forward and once back.
std::int64_t reduction_length(const SuiteContext& context) {
  return 2 * context.config().num_hidden_layers * context.reduction_length();
}

Shown shown_by(const BackwardTrace& side) {
  return [&side](const std::string& name) {
    const auto found = side.trace.tensors.find(name);
    return found == side.trace.tensors.end() ? at::Tensor() : found->second;
  };
}

/// One gradient of all sides: baseline and further honest runs together, in that order.
struct GradientSides {
  at::Tensor candidate;
  std::vector<at::Tensor> honest;
  at::Tensor truth;
  at::Tensor slack = {};  // undefined: none
};

/// What `of` finds in the baseline and in each of its further runs.
template <typename Of>
std::vector<at::Tensor> of_honest(const BackwardTrace& baseline, Of of) {
  std::vector<at::Tensor> found = {of(baseline)};
  for (const BackwardTrace& run : baseline.again) {
    found.push_back(of(run));
  }
  return found;
}

/// Parameters that are judged as one tensor.
struct ParameterGroup {
  std::string name;
  bool matrix;
  std::vector<std::string> members;
};

/// The slack of a group, of the shape of its gradient; undefined where it has none.
at::Tensor slack_of(const BackwardTrace& side, const ParameterGroup& group) {
  std::vector<at::Tensor> members;
  for (const std::string& name : group.members) {
    const auto found = side.slack.find(name);
    if (found == side.slack.end()) {
      return {};
    }
    members.push_back(found->second);
  }
  return members.size() == 1 ? members[0] : at::stack(members);
}

/// One more honest run: the baseline, with the slack added to its error.
at::Tensor with_slack(const at::Tensor& baseline, const at::Tensor& slack,
                      const at::Tensor& truth) {
  const at::Tensor error = baseline.to(at::kDouble).sub(truth);
  return truth.add(error).add(slack.copysign(error));
}

judge::Comparison judge_gradient(const SuiteContext& context, const std::string& name,
                                 bool both_axes, std::optional<double> magnitude,
                                 const GradientSides& sides) {
  judge::TensorClaim claim;
  claim.tensor = name;
  claim.direction = judge::Direction::kBackward;
  claim.reduction_length = reduction_length(context);
  claim.both_axes = both_axes;
  claim.computed_in = context.options().dtype;
  // A few cells are as few samples, however many tokens were added up.
  claim.samples = std::min(context.samples(), sides.truth.numel());
  claim.magnitude = magnitude;
  claim.conditioned = context.options().embedded;
  std::vector<judge::Tensor> honest;
  std::ranges::transform(sides.honest, std::back_inserter(honest), judged);
  if (sides.slack.defined()) {
    claim.slack = judge::rms(judged(sides.slack).values);
    honest.push_back(judged(with_slack(sides.honest.front(), sides.slack, sides.truth)));
    honest.back().dtype = honest.front().dtype;
  }
  return judge::compare(claim, judged(sides.candidate), &honest.front(), judged(sides.truth),
                        std::span(honest).subspan(1));
}

/// Names whose gradient the truth has, last computed first.
std::vector<std::string> way_back(const BackwardTrace& truth) {
  std::vector<std::string> names;
  for (const std::string& name : truth.trace.order | std::views::reverse) {
    if (truth.trace.tensors.contains(tensors::gradient_name(name))) {
      names.push_back(tensors::gradient_name(name));
    }
  }
  return names;
}

/// A gradient that is absent on one side only is a failed comparison.
void judge_names(const std::vector<std::string>& candidate, const std::vector<std::string>& truth,
                 judge::CaseRecord& record) {
  std::ranges::move(judge::compare_names(candidate, truth), std::back_inserter(record.comparisons));
}

std::vector<std::string> parameter_names(const BackwardTrace& side) {
  std::vector<std::string> names;
  for (const auto& [name, gradient] : side.parameters) {
    names.push_back(tensors::gradient_name(name));
  }
  return names;
}

/// In checkpoint order.
std::vector<ParameterGroup> groups_of(const SuiteContext& context) {
  std::vector<ParameterGroup> groups;
  for (const core::ParameterSpec& parameter : context.differentiated()) {
    const std::string name = judge::gradient_group(parameter.name);
    auto found = std::ranges::find(groups, name, &ParameterGroup::name);
    if (found == groups.end()) {
      found = groups.insert(groups.end(), {name, parameter.shape.size() == 2, {}});
    }
    found->members.push_back(parameter.name);
  }
  return groups;
}

bool all_have(const BackwardTrace& side, const ParameterGroup& group) {
  return std::ranges::all_of(
      group.members, [&](const std::string& name) { return side.parameters.contains(name); });
}

/// The gradients of a group, [members, …] when there are several.
at::Tensor stacked(const BackwardTrace& side, const ParameterGroup& group) {
  std::vector<at::Tensor> gradients;
  for (const std::string& name : group.members) {
    gradients.push_back(side.parameters.at(name));
  }
  return gradients.size() == 1 ? gradients[0] : at::stack(gradients);
}

}  // namespace

BackwardTrace trace_backward(const BoundModel& model, const BackwardPlan& plan) {
  const auto run = [&](std::optional<std::uint64_t> dither) -> BackwardTrace {
    tensors::Recorder recorder({"*"});
    for (const auto& [name, value] : plan.forced) {
      recorder.force(name, value);
    }
    if (dither) {
      recorder.dither(*dither);
    }
    GradientRun found =
        model.backward(plan.inputs, plan.attention, tensors::Probe(&recorder), plan.cotangent);
    return {{recorder.order(), recorder.captured()}, std::move(found.parameters), found.loss};
  };
  BackwardTrace trace = run(std::nullopt);
  for (const std::uint64_t seed : draw_seeds(model)) {
    trace.again.push_back(run(seed));
  }
  return trace;
}

void judge_intermediate_gradients(const SuiteContext& context, const BackwardSides& sides,
                                  judge::CaseRecord& record) {
  const std::vector<std::string> names = way_back(sides.truth);
  const auto& candidate = sides.candidate.trace.tensors;
  judge_names(way_back(sides.candidate), names, record);
  for (const std::string& name : names) {
    if (candidate.contains(name)) {
      const at::Tensor& truth = sides.truth.trace.tensors.at(name);
      record.comparisons.push_back(judge_gradient(
          context, name, false, summed_size(name, shown_by(sides.truth), truth),
          {candidate.at(name),
           of_honest(sides.baseline,
                     [&](const BackwardTrace& run) { return run.trace.tensors.at(name); }),
           truth}));
    }
  }
}

void judge_parameter_gradients(const SuiteContext& context, const BackwardSides& sides,
                               judge::CaseRecord& record) {
  judge_names(parameter_names(sides.candidate), parameter_names(sides.truth), record);
  for (const ParameterGroup& group : groups_of(context) | std::views::reverse) {
    if (all_have(sides.candidate, group) && all_have(sides.truth, group)) {
      const at::Tensor truth = stacked(sides.truth, group);
      record.comparisons.push_back(judge_gradient(
          context, tensors::gradient_name(group.name), group.matrix,
          summed_size(group.name, shown_by(sides.truth), truth),
          {stacked(sides.candidate, group),
           of_honest(sides.baseline, [&](const BackwardTrace& run) { return stacked(run, group); }),
           truth, slack_of(sides.baseline, group)}));
    }
  }
}

}  // namespace sparity::cases
