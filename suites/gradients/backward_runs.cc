#include "suites/gradients/backward_runs.h"

#include "src/tensors/recorder.h"

#include <utility>

namespace sparity::suites::gradients {

at::Tensor cotangent_for(const cases::SuiteContext& context, std::string_view name) {
  const tensors::Inputs& inputs = context.inputs();
  const at::Tensor values = context.normal(
      name, {inputs.input_ids.size(0), inputs.input_ids.size(1), context.config().vocab_size});
  return values.masked_fill(inputs.token_mask.logical_not().unsqueeze(-1), 0);
}

ThreeRuns run_three(const cases::SuiteContext& context, const cases::BackwardPlan& plan) {
  cases::BackwardTrace candidate = cases::trace_backward(context.candidate(), plan);
  cases::BackwardPlan same_choices = plan;
  same_choices.forced.merge(cases::selections_of(candidate.trace));
  return {std::move(candidate), cases::trace_backward(context.baseline(), same_choices),
          cases::trace_backward(context.truth(), same_choices)};
}

ZeroInTruth::ZeroInTruth(const cases::SuiteContext& context, cases::BackwardPlan plan,
                         const cases::BackwardTrace& candidate)
    : context_(context), plan_(std::move(plan)) {
  plan_.forced.merge(cases::selections_of(candidate.trace));
}

bool ZeroInTruth::parameter(const std::string& name) {
  return truth().parameters.at(name).eq(0).all().item<bool>();
}

bool ZeroInTruth::intermediate(const std::string& name) {
  return truth().trace.tensors.at(tensors::gradient_name(name)).eq(0).all().item<bool>();
}

const cases::BackwardTrace& ZeroInTruth::truth() {
  if (!truth_) {
    truth_ = cases::trace_backward(context_.truth(), plan_);
  }
  return *truth_;
}

}  // namespace sparity::suites::gradients
