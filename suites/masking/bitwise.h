#pragma once

#include "suites/cases/trace.h"

#include <functional>

namespace sparity::suites::masking {

/// The whole candidate, traced; with `experts` given, each layer's expert choices are those.
/// Library matrix products change bits with the number of rows, and an expert's rows are the tokens
/// that chose it, so bitwise claims hold under equal choices of experts. Choices of keys stay free.
cases::Trace candidate_run(const cases::SuiteContext& context, const tensors::Inputs& inputs,
                           core::AttentionMode attention, const cases::Forced& experts = {});

/// A trace's expert choices.
cases::Forced expert_choices(const cases::Trace& trace);

/// Bit equality of a part of every traced tensor, choices of keys included, in execution order.
void compare_parts(const cases::Trace& changed, const cases::Trace& plain,
                   const std::function<at::Tensor(const at::Tensor&)>& part,
                   judge::CaseRecord& record);

}  // namespace sparity::suites::masking
