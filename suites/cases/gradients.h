#pragma once

#include "suites/cases/bound_model.h"
#include "suites/cases/suite_context.h"
#include "suites/cases/trace.h"
#include "suites/judge/record.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace sparity::cases {

/// What goes into one forward and backward pass of one side.
struct BackwardPlan {
  const tensors::Inputs& inputs;
  core::AttentionMode attention = core::AttentionMode::kSparse;
  at::Tensor cotangent = {};  // [B, S, V], of the logits; undefined: the LM loss is differentiated
  Forced forced = {};  // replaced on the way forward or, named "grad." + name, on the way back
};

/// Everything that one forward and backward pass showed.
struct BackwardTrace {
  Trace trace;  // values in order of execution; gradients are among the tensors
  std::map<std::string, at::Tensor> parameters;  // by checkpoint name; absent where none arrives
  LossValue loss;                                // its tensor undefined where a cotangent was given
  std::vector<BackwardTrace> again = {};         // of an honest side: with other roundings
  /// Of an honest side, by parameter: what signs and other jumps that the dtype cannot decide may
  /// add to the error of its gradient, element by element.
  std::map<std::string, at::Tensor> slack = {};
};

BackwardTrace trace_backward(const BoundModel& model, const BackwardPlan& plan);

/// The three sides of a judged backward pass.
struct BackwardSides {
  const BackwardTrace& candidate;
  const BackwardTrace& baseline;
  const BackwardTrace& truth;
};

/// Judges the gradient of every intermediate, last computed first; the set of names that a gradient
/// reaches must be the truth's. Padded rows count as zero on every side.
void judge_intermediate_gradients(const SuiteContext& context, const BackwardSides& sides,
                                  judge::CaseRecord& record);

/// Judges the gradient of every parameter, output rows and input columns alike, from the head down
/// to the embedding; a layer's experts as one tensor [E, …]. A gradient that is absent on one side
/// only fails: none is not zero.
void judge_parameter_gradients(const SuiteContext& context, const BackwardSides& sides,
                               judge::CaseRecord& record);

}  // namespace sparity::cases
