#include "suites/block/block_cases.h"

#include "suites/cases/skips.h"
#include "suites/cases/trace.h"

namespace sparity::suites {

namespace {

using cases::LayerTrace;
using cases::SuiteContext;
using cases::TraceSides;

/// Which layers a case visits.
enum class Layers { kFirst, kFirstMoe, kLast };

std::int64_t number_of(const SuiteContext& context, Layers layer) {
  switch (layer) {
    case Layers::kFirst:
      return 0;
    case Layers::kFirstMoe:
      return context.first_moe_layer();
    case Layers::kLast:
      return context.config().num_hidden_layers - 1;
  }
  return 0;
}

/// Continuous parity under the truth's selections (S5): every traced tensor of one layer.
void judge_layer(const SuiteContext& context, std::int64_t layer, judge::CaseRecord& record) {
  const cases::StreamState state = cases::teacher_states(context)[static_cast<std::size_t>(layer)];
  const LayerTrace truth = cases::trace_layer(context, context.truth(), layer, state);
  const cases::Forced selections = cases::selections_of(truth.trace);
  const LayerTrace baseline =
      cases::trace_layer(context, context.baseline(), layer, state, selections);
  const LayerTrace candidate =
      cases::trace_layer(context, context.candidate(), layer, state, selections);
  cases::judge_trace(context, {candidate.trace, baseline.trace, truth.trace}, {"*"}, record);
}

/// The same layer choosing for itself (S1–S4).
void judge_layer_choices(const SuiteContext& context, std::int64_t layer,
                         judge::CaseRecord& record) {
  const cases::StreamState state = cases::teacher_states(context)[static_cast<std::size_t>(layer)];
  const LayerTrace candidate = cases::trace_layer(context, context.candidate(), layer, state);
  // The choices of a layer's router depend on its keys: truth and baseline follow the candidate's.
  const cases::Forced selections = cases::selections_of(candidate.trace);
  const LayerTrace followed =
      cases::trace_layer(context, context.truth(), layer, state, selections);
  const LayerTrace baseline =
      cases::trace_layer(context, context.baseline(), layer, state, selections);
  cases::judge_selections(context, {candidate.trace, baseline.trace, followed.trace}, {"*"},
                          record);
}

using Judge = void (*)(const SuiteContext&, std::int64_t, judge::CaseRecord&);

cases::Case layer_case(const std::string& name, Layers layer, Judge judge_one) {
  return {"block", name,
          [layer, judge_one](const SuiteContext& context, judge::CaseRecord& record) {
            const std::int64_t number = number_of(context, layer);
            if (number < 0) {
              cases::skip(record, "the model has no MoE layer");
              return;
            }
            judge_one(context, number, record);
          }};
}

}  // namespace

std::vector<cases::Case> block_cases() {
  return {
      layer_case("first_layer", Layers::kFirst, judge_layer),
      layer_case("first_moe_layer", Layers::kFirstMoe, judge_layer),
      layer_case("last_layer", Layers::kLast, judge_layer),
      layer_case("first_layer_chooses", Layers::kFirst, judge_layer_choices),
      layer_case("first_moe_layer_chooses", Layers::kFirstMoe, judge_layer_choices),
      layer_case("last_layer_chooses", Layers::kLast, judge_layer_choices),
  };
}

}  // namespace sparity::suites
