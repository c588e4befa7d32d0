#include "suites/gradients/backward_chart.h"

#include "src/tensors/recorder.h"
#include "suites/cases/depth_chart.h"
#include "suites/cases/skips.h"
#include "suites/gradients/backward_runs.h"

#include <algorithm>

namespace sparity::suites::gradients {

namespace {

using cases::BackwardTrace;
using cases::relative_error;
using cases::SuiteContext;
using tensors::gradient_name;

/// The stream from the logits back: what each step of the chart receives the gradient of.
std::vector<std::string> stream_back(const SuiteContext& context) {
  std::vector<std::string> names = {"logits"};
  for (std::int64_t layer = context.config().num_hidden_layers - 1; layer >= 0; --layer) {
    names.push_back("layers." + std::to_string(layer));
  }
  names.emplace_back("embed_tokens");
  return names;
}

/// The truth's stream and its gradients, rounded to what the candidate holds them in, and its
/// choices: every layer gets its input on the way forward and its cotangent on the way back.
cases::Forced teaching(const SuiteContext& context, const ThreeRuns& free) {
  cases::Forced forced = cases::selections_of(free.truth.trace);
  const auto teach = [&](const std::string& name) {
    const at::ScalarType held = free.candidate.trace.tensors.at(name).scalar_type();
    forced.emplace(name, free.truth.trace.tensors.at(name).to(held));
  };
  for (const std::string& name : stream_back(context)) {
    if (name != "logits") {
      teach(name);
    }
    teach(gradient_name(name));
  }
  return forced;
}

/// How far the truth's `name` moved when everything that feeds its step was rounded once.
double gain(const SuiteContext& context, const std::string& cotangent, const std::string& name,
            const cases::Forced& forced, const ThreeRuns& free, const BackwardTrace& taught) {
  const at::Tensor& exact = free.truth.trace.tensors.at(cotangent);
  const double moved_in = relative_error(context, forced.at(cotangent), exact);
  const double moved_out =
      relative_error(context, taught.trace.tensors.at(name), free.truth.trace.tensors.at(name));
  return moved_in > 0 ? moved_out / moved_in : 1.0;
}

/// Whether a comparison is of the step that ends at `name`, which the layer `made_by` takes: of the
/// gradient itself, of what lies within the layer, or of the layer's parameters.
bool is_of_step(const std::string& tensor, const std::string& name, const std::string& made_by) {
  if (tensor == gradient_name(name)) {
    return true;
  }
  if (made_by == "logits") {
    return tensor == gradient_name("norm") || tensor == gradient_name("model.norm.weight") ||
           tensor == gradient_name("lm_head.weight");
  }
  return tensor.starts_with(gradient_name(made_by) + ".") ||
         tensor.starts_with(gradient_name("model." + made_by) + ".");
}

double headroom_of(const judge::CaseRecord& record, const std::string& name,
                   const std::string& made_by) {
  double worst = 0;
  for (const judge::Comparison& comparison : record.comparisons) {
    if (is_of_step(comparison.tensor, name, made_by)) {
      worst = std::max(worst, comparison.worst_headroom());
    }
  }
  return worst;
}

void judge_chart(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const ThreeRuns free = run_three(context, {.inputs = context.inputs()});
  const cases::Forced forced = teaching(context, free);
  const cases::BackwardPlan taught{.inputs = context.inputs(), .forced = forced};
  const BackwardTrace candidate = cases::trace_backward(context.candidate(), taught);
  const BackwardTrace baseline = cases::trace_backward(context.baseline(), taught);
  const BackwardTrace truth = cases::trace_backward(context.truth(), taught);
  cases::judge_intermediate_gradients(context, {candidate, baseline, truth}, record);
  cases::judge_parameter_gradients(context, {candidate, baseline, truth}, record);

  const std::vector<std::string> names = stream_back(context);
  std::vector<cases::DepthStep> steps;
  for (std::size_t i = 1; i < names.size(); ++i) {
    const std::string name = gradient_name(names[i]);
    const at::Tensor& expected = free.truth.trace.tensors.at(name);
    steps.push_back(
        {.tensor = name,
         .headroom = headroom_of(record, names[i], names[i - 1]),
         .local_error = relative_error(context, candidate.trace.tensors.at(name),
                                       truth.trace.tensors.at(name)),
         .gain = gain(context, gradient_name(names[i - 1]), name, forced, free, truth),
         .free_error = relative_error(context, free.candidate.trace.tensors.at(name), expected),
         .baseline_error =
             relative_error(context, free.baseline.trace.tensors.at(name), expected)});
  }
  record.trace = cases::depth_chart(context, steps);
}

}  // namespace

std::vector<cases::Case> backward_chart_cases() {
  return {{"gradients", "divergence", judge_chart}};
}

}  // namespace sparity::suites::gradients
