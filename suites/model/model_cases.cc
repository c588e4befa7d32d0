#include "suites/model/model_cases.h"

#include "src/tensors/recorder.h"
#include "suites/cases/skips.h"
#include "suites/cases/trace.h"
#include "suites/judge/divergence.h"
#include "suites/model/exercised.h"
#include "suites/model/layer_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sparity::suites {

namespace {

using cases::SuiteContext;
using cases::Trace;
using core::AttentionMode;

/// A free run whose comparisons failed is walked through layer by layer: honest errors that grew
/// are no failure (verification b.4), and the record says what they are put down to.
void explain(const SuiteContext& context, judge::CaseRecord& record) {
  if (std::ranges::all_of(record.comparisons, &judge::Comparison::passed)) {
    return;
  }
  judge::CaseRecord local;  // judged by the case `divergence`; here its headrooms decide
  record.trace = layer_chart(context, local);
  const std::int64_t waived =
      judge::waive_accumulated(record.comparisons, record.trace, context.distinct_tokens());
  record.conditions.push_back({"the free run stays within the plain tolerance", waived == 0, false,
                               fmt::format("ACCUMULATED: {} tensors are above it by what the "
                                           "layers' own errors add up to",
                                           waived)});
}

/// Both sides under the truth's selections: every traced tensor down to the logits.
void forced_selections(const SuiteContext& context, judge::CaseRecord& record) {
  const tensors::Inputs& inputs = context.inputs();
  const Trace truth = cases::trace_forward(context, context.truth(), inputs);
  const cases::Forced selections = cases::selections_of(truth);
  const Trace baseline = cases::trace_forward(context, context.baseline(), inputs, selections);
  const Trace candidate = cases::trace_forward(context, context.candidate(), inputs, selections);
  cases::judge_trace(context, {candidate, baseline, truth}, {"*"}, record);
  explain(context, record);
}

/// The candidate chooses for itself; truth and baseline follow its choices, so that every tensor is
/// judged without exclusions, and every choice by the truth's scores in the same place.
void free_run(const SuiteContext& context, judge::CaseRecord& record) {
  const tensors::Inputs& inputs = context.inputs();
  const Trace candidate = cases::trace_forward(context, context.candidate(), inputs);
  const cases::Forced selections = cases::selections_of(candidate);
  const Trace truth = cases::trace_forward(context, context.truth(), inputs, selections);
  const Trace baseline = cases::trace_forward(context, context.baseline(), inputs, selections);
  cases::judge_selections(context, {candidate, baseline, truth}, {"*"}, record);
  cases::judge_trace(context, {candidate, baseline, truth}, {"*"}, record);
  explain(context, record);
}

/// Every visible key in the support.
void dense_mode(const SuiteContext& context, judge::CaseRecord& record) {
  const tensors::Inputs& inputs = context.inputs();
  const auto run = [&](const cases::BoundModel& model, const cases::Forced& forced) {
    return cases::trace_forward(context, model, inputs, forced, AttentionMode::kDense);
  };
  const Trace truth = run(context.truth(), {});
  const cases::Forced selections = cases::selections_of(truth);
  const Trace baseline = run(context.baseline(), selections);
  const Trace candidate = run(context.candidate(), selections);
  cases::judge_trace(context, {candidate, baseline, truth}, {"*self_attn*", "norm", "logits"},
                     record);
}

/// Looking changes nothing: logits with every tensor captured are those without, bit by bit.
void capture_is_inert(const SuiteContext& context, judge::CaseRecord& record) {
  tensors::Recorder recorder({"*"});
  const at::Tensor watched = context.candidate().forward(context.inputs(), AttentionMode::kSparse,
                                                         tensors::Probe(&recorder));
  const at::Tensor alone = context.candidate().forward(context.inputs(), AttentionMode::kSparse);
  record.comparisons.push_back(cases::compare_bits("logits", watched, alone));
  record.comparisons.push_back(cases::claim_holds("captured tensors", !recorder.captured().empty(),
                                                  "something was captured"));
}

/// The same run twice gives the same bits.
void repeats_bitwise(const SuiteContext& context, judge::CaseRecord& record) {
  const at::Tensor first = context.candidate().forward(context.inputs(), AttentionMode::kSparse);
  for (int i = 0; i < 3; ++i) {
    const at::Tensor again = context.candidate().forward(context.inputs(), AttentionMode::kSparse);
    record.comparisons.push_back(cases::compare_bits("logits", again, first));
  }
}

/// Layer by layer: local error, what it should grow to, and what it grew to (verification b.4).
void divergence(const SuiteContext& context, judge::CaseRecord& record) {
  record.trace = layer_chart(context, record);
}

cases::Case model_case(const std::string& name,
                       void (*run)(const SuiteContext&, judge::CaseRecord&)) {
  return {"model", name, run};
}

}  // namespace

std::vector<cases::Case> model_cases() {
  return {
      model_case("exercises_what_it_claims", exercises_what_it_claims),
      model_case("forced_selections", forced_selections),
      model_case("free_run", free_run),
      model_case("dense_mode", dense_mode),
      model_case("divergence", divergence),
      cases::of_our_implementation(model_case("capture_is_inert", capture_is_inert)),
      model_case("repeats_bitwise", repeats_bitwise),
  };
}

}  // namespace sparity::suites
