#include "suites/model/layer_chart.h"

#include "suites/cases/trace.h"
#include "suites/judge/divergence.h"
#include "suites/judge/error_stats.h"

#include <algorithm>

namespace sparity::suites {

namespace {

using cases::LayerTrace;
using cases::SuiteContext;
using cases::Trace;

double rms(const at::Tensor& x) { return judge::rms(cases::judged(x).values); }

/// rms(x − truth) / rms(truth) over the rows of real tokens; 0/0 is 0.
double relative_error(const SuiteContext& context, const at::Tensor& x, const at::Tensor& truth) {
  const at::Tensor token = context.inputs().token_mask.unsqueeze(-1);
  const at::Tensor wide = truth.to(at::kDouble).mul(token);
  return judge::relative(rms(x.to(at::kDouble).mul(token).sub(wide)), rms(wide));
}

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

/// One layer seen alone, and how much of an input error it passes on.
struct LocalView {
  double headroom = 0;         // worst blocking gate of its comparisons
  double candidate_error = 0;  // relative, of its output
  double gain = 1;             // relative output change over relative input change
};

LocalView look_at(const SuiteContext& context, std::int64_t layer, const cases::StreamState& exact,
                  judge::CaseRecord& record) {
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
  LocalView view;
  for (std::size_t i = before; i < record.comparisons.size(); ++i) {
    view.headroom = std::max(view.headroom, record.comparisons[i].worst_headroom());
  }
  view.candidate_error = relative_error(context, stream(candidate.next), stream(truth.next));
  const double moved_in = relative_error(context, stream(input), stream(exact));
  const double moved_out = relative_error(context, stream(truth.next), stream(unperturbed.next));
  view.gain = moved_in > 0 ? moved_out / moved_in : 1.0;
  return view;
}

}  // namespace

std::vector<judge::TracePoint> layer_chart(const SuiteContext& context, judge::CaseRecord& record) {
  const tensors::Inputs& inputs = context.inputs();
  const Trace truth = cases::trace_forward(context, context.truth(), inputs);
  const cases::Forced selections = cases::selections_of(truth);
  const Trace baseline = cases::trace_forward(context, context.baseline(), inputs, selections);
  const Trace candidate = cases::trace_forward(context, context.candidate(), inputs, selections);

  std::vector<judge::TracePoint> points;
  std::vector<double> local_errors;
  std::vector<double> gains;
  cases::StreamState state{truth.tensors.at("embed_tokens"), {}};
  for (std::int64_t layer = 0; layer < context.config().num_hidden_layers; ++layer) {
    const LocalView local = look_at(context, layer, state, record);
    local_errors.push_back(local.candidate_error);
    gains.push_back(local.gain);
    judge::TracePoint point;
    point.tensor = "layers." + std::to_string(layer);
    point.local_headroom = local.headroom;
    const at::Tensor& expected = truth.tensors.at(point.tensor);
    point.free_error = relative_error(context, candidate.tensors.at(point.tensor), expected);
    point.baseline_error = relative_error(context, baseline.tensors.at(point.tensor), expected);
    points.push_back(point);
    state = widened(cases::trace_layer(context, context.truth(), layer, state, selections).next);
  }
  const std::vector<double> predicted = judge::predicted_errors(local_errors, gains);
  for (std::size_t i = 0; i < points.size(); ++i) {
    points[i].predicted_error = predicted[i];
  }
  judge::classify_all(points, context.options().dtype, context.distinct_tokens());
  return points;
}

}  // namespace sparity::suites
