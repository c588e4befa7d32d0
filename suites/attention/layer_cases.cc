#include "suites/attention/layer_cases.h"

#include "src/tensors/recorder.h"
#include "suites/attention/truth_attention.h"
#include "suites/cases/skips.h"
#include "suites/cases/trace.h"
#include "suites/judge/conditions.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <string>
#include <utility>

namespace sparity::suites {

namespace {

using cases::SuiteContext;
using cases::Trace;

std::vector<std::int64_t> first_and_last_layer(const SuiteContext& context) {
  const std::int64_t last = context.config().num_hidden_layers - 1;
  return last > 0 ? std::vector<std::int64_t>{0, last} : std::vector<std::int64_t>{0};
}

std::string attention_glob(std::int64_t layer) {
  return fmt::format("layers.{}.self_attn*", layer);
}

/// That attention is neither one-hot nor uniform, or wrong scores would hardly show.
void add_entropy_condition(const SuiteContext& context, std::vector<double> shares,
                           judge::CaseRecord& record) {
  judge::ExercisedFacts facts;
  facts.entropy_shares = std::move(shares);
  std::ranges::copy_if(judge::conditions_of(context.config(), facts, context.options().embedded),
                       std::back_inserter(record.conditions),
                       [](const judge::Condition& condition) {
                         return condition.name == "attention neither one-hot nor uniform";
                       });
}

void judge_sparse_layers(const SuiteContext& context, judge::CaseRecord& record) {
  const std::vector<cases::StreamState> states = cases::teacher_states(context);
  std::vector<double> shares;
  for (const std::int64_t layer : first_and_last_layer(context)) {
    const cases::StreamState& state = states[static_cast<std::size_t>(layer)];
    const Trace truth = cases::trace_layer(context, context.truth(), layer, state).trace;
    const cases::Forced forced = cases::selections_of(truth);
    const Trace candidate =
        cases::trace_layer(context, context.candidate(), layer, state, forced).trace;
    const Trace baseline =
        cases::trace_layer(context, context.baseline(), layer, state, forced).trace;
    cases::judge_trace(context, {.candidate = candidate, .baseline = baseline, .truth = truth},
                       {attention_glob(layer)}, record);
    std::ranges::copy(TruthAttention(context, truth, layer).entropy_shares(),
                      std::back_inserter(shares));
  }
  add_entropy_condition(context, std::move(shares), record);
}

/// One layer in dense mode, traced as far as its attention goes.
Trace dense_trace(const SuiteContext& context, const cases::BoundModel& model, std::int64_t layer,
                  const cases::StreamState& state) {
  tensors::Recorder recorder({attention_glob(layer)});
  model.layer_forward(layer, state, context.inputs(), core::AttentionMode::kDense,
                      tensors::Probe(&recorder));
  return {recorder.order(), recorder.captured()};
}

void judge_dense_layers(const SuiteContext& context, judge::CaseRecord& record) {
  const std::vector<cases::StreamState> states = cases::teacher_states(context);
  for (const std::int64_t layer : first_and_last_layer(context)) {
    const cases::StreamState& state = states[static_cast<std::size_t>(layer)];
    const Trace candidate = dense_trace(context, context.candidate(), layer, state);
    const Trace baseline = dense_trace(context, context.baseline(), layer, state);
    const Trace truth = dense_trace(context, context.truth(), layer, state);
    cases::judge_trace(context, {.candidate = candidate, .baseline = baseline, .truth = truth},
                       {attention_glob(layer)}, record);
  }
}

/// The same weights under another config, in which numbers differ that `tiny` has equal.
cases::Case config_case(const std::string& name,
                        const std::function<void(core::ModelConfig&)>& change) {
  return {"attention", "layers_" + name,
          [change](const SuiteContext& context, judge::CaseRecord& record) {
            if (!context.options().embedded) {
              cases::skip(record,
                          "changes the embedded config: another model's weights would be "
                          "bound a second time");
              return;
            }
            tensors::Checkpoint checkpoint = context.checkpoint();
            change(checkpoint.config);
            judge_sparse_layers(
                SuiteContext(std::move(checkpoint), context.inputs(), context.options()), record);
          }};
}

}  // namespace

std::vector<cases::Case> attention_layer_cases() {
  return {{"attention", "layers_under_the_truths_selections", judge_sparse_layers},
          {"attention", "layers_in_dense_mode", judge_dense_layers},
          config_case("with_a_large_rms_norm_eps",
                      [](core::ModelConfig& config) { config.rms_norm_eps = 0.3; }),
          config_case("with_mscale_and_mscale_all_dim_that_differ", [](core::ModelConfig& config) {
            config.rope_parameters.mscale = 0.4;
            config.rope_parameters.mscale_all_dim = 1.3;
          })};
}

}  // namespace sparity::suites
