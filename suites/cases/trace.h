#pragma once

#include "suites/cases/suite_context.h"
#include "suites/judge/record.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace sparity::cases {

/// Every named intermediate of one run, and the order in which they appeared.
struct Trace {
  std::vector<std::string> order;
  std::map<std::string, at::Tensor> tensors;
  /// Of an honest side: the same run again with other roundings (tensors::Recorder::dither), which
  /// show by how much the one above is a matter of luck.
  std::vector<Trace> again = {};
};

/// Names and values to put in the place of what a run computes.
using Forced = std::map<std::string, at::Tensor>;

/// What the further runs of an honest side are dithered by, one seed a run; none for others.
std::vector<std::uint64_t> draw_seeds(const BoundModel& model);

/// The whole model on the context's inputs.
Trace trace_forward(const SuiteContext& context, const BoundModel& model,
                    const tensors::Inputs& inputs, const Forced& forced = {},
                    core::AttentionMode attention = core::AttentionMode::kSparse);

/// One layer; its names keep their "layers.N." prefix.
struct LayerTrace {
  Trace trace;
  StreamState next;
};
LayerTrace trace_layer(const SuiteContext& context, const BoundModel& model, std::int64_t layer,
                       const StreamState& state, const Forced& forced = {});

/// The discrete choices of a trace: every `*.topk_indices`.
Forced selections_of(const Trace& trace);

/// The state that the truth hands to every layer, rounded to the activation dtype: what teacher
/// forcing feeds to truth, baseline and candidate alike. One entry a layer.
std::vector<StreamState> teacher_states(const SuiteContext& context);

/// The three sides of a traced comparison. Truth and baseline ran under the candidate's selections,
/// or all three under the same ones.
struct TraceSides {
  const Trace& candidate;
  const Trace& baseline;
  const Trace& truth;
};

/// Judges every tensor whose name one of `globs` matches, except discrete choices, in execution
/// order. Rows of padded tokens count as zero on every side: nothing is claimed of them. Name sets
/// must be equal.
void judge_trace(const SuiteContext& context, const TraceSides& sides,
                 const std::vector<std::string>& globs, judge::CaseRecord& record);

/// Judges every discrete choice that one of `globs` matches: own exactness, validity, explained
/// flips, rates. `sides` must not have been forced on the candidate's side. Returns whether the
/// candidate chose as truth's scores do in every row.
bool judge_selections(const SuiteContext& context, const TraceSides& sides,
                      const std::vector<std::string>& globs, judge::CaseRecord& record);

}  // namespace sparity::cases
