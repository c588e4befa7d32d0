#include "suites/model/layer_chart.h"

#include "suites/cases/depth_chart.h"
#include "suites/cases/trace.h"

#include <algorithm>

namespace sparity::suites {

namespace {

using cases::LayerTrace;
using cases::relative_error;
using cases::SuiteContext;
using cases::Trace;

at::Tensor stream(const cases::StreamState& state) {
  const at::Tensor hidden = state.hidden.to(at::kDouble);
  return state.residual.defined() ? hidden.add(state.residual.to(at::kDouble)) : hidden;
}

cases::StreamState widened(const cases::StreamState& state) {
  return {state.hidden.to(at::kDouble),
          state.residual.defined() ? state.residual.to(at::kDouble) : state.residual};
}

cases::StreamState rounded(const SuiteContext& context, const cases::StreamState& state) {
  return {state.hidden.to(context.activation()),
          state.residual.defined() ? state.residual.to(context.activation()) : state.residual};
}

/// The largest headroom of the comparisons from number `first` on.
double worst_headroom_from(const judge::CaseRecord& record, std::size_t first) {
  double worst = 0;
  for (std::size_t i = first; i < record.comparisons.size(); ++i) {
    worst = std::max(worst, record.comparisons[i].worst_headroom());
  }
  return worst;
}

/// One layer seen alone, and how much of an input error it passes on.
cases::DepthStep look_at(const SuiteContext& context, std::int64_t layer,
                         const cases::StreamState& exact, judge::CaseRecord& record) {
  const cases::StreamState input = rounded(context, exact);
  const LayerTrace truth = cases::trace_layer(context, context.truth(), layer, input);
  const cases::Forced selections = cases::selections_of(truth.trace);
  const LayerTrace baseline =
      cases::trace_layer(context, context.baseline(), layer, input, selections);
  const LayerTrace candidate =
      cases::trace_layer(context, context.candidate(), layer, input, selections);
  const LayerTrace unperturbed =
      cases::trace_layer(context, context.truth(), layer, exact, selections);
  const std::size_t before = record.comparisons.size();
  cases::judge_trace(context, {candidate.trace, baseline.trace, truth.trace}, {"*"}, record);
  const double moved_in = relative_error(context, stream(input), stream(exact));
  const double moved_out = relative_error(context, stream(truth.next), stream(unperturbed.next));
  return {.tensor = "layers." + std::to_string(layer),
          .headroom = worst_headroom_from(record, before),
          .local_error = relative_error(context, stream(candidate.next), stream(truth.next)),
          .gain = moved_in > 0 ? moved_out / moved_in : 1.0};
}

}  // namespace

std::vector<judge::TracePoint> layer_chart(const SuiteContext& context, judge::CaseRecord& record) {
  const tensors::Inputs& inputs = context.inputs();
  const Trace truth = cases::trace_forward(context, context.truth(), inputs);
  const cases::Forced selections = cases::selections_of(truth);
  const Trace baseline = cases::trace_forward(context, context.baseline(), inputs, selections);
  const Trace candidate = cases::trace_forward(context, context.candidate(), inputs, selections);

  std::vector<cases::DepthStep> steps;
  cases::StreamState state{truth.tensors.at("embed_tokens"), {}};
  for (std::int64_t layer = 0; layer < context.config().num_hidden_layers; ++layer) {
    cases::DepthStep step = look_at(context, layer, state, record);
    const at::Tensor& expected = truth.tensors.at(step.tensor);
    step.free_error = relative_error(context, candidate.tensors.at(step.tensor), expected);
    step.baseline_error = relative_error(context, baseline.tensors.at(step.tensor), expected);
    steps.push_back(std::move(step));
    state = widened(cases::trace_layer(context, context.truth(), layer, state, selections).next);
  }
  return cases::depth_chart(context, steps);
}

}  // namespace sparity::suites
