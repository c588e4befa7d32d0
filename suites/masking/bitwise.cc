#include "suites/masking/bitwise.h"

#include "suites/cases/case.h"

namespace sparity::suites::masking {

cases::Trace candidate_run(const cases::SuiteContext& context, const tensors::Inputs& inputs,
                           core::AttentionMode attention, const cases::Forced& experts) {
  return cases::trace_forward(context, context.candidate(), inputs, experts, attention);
}

cases::Forced expert_choices(const cases::Trace& trace) {
  cases::Forced choices = cases::selections_of(trace);
  std::erase_if(choices,
                [](const auto& choice) { return !choice.first.ends_with("gate.topk_indices"); });
  return choices;
}

void compare_parts(const cases::Trace& changed, const cases::Trace& plain,
                   const std::function<at::Tensor(const at::Tensor&)>& part,
                   judge::CaseRecord& record) {
  for (const std::string& name : plain.order) {
    record.comparisons.push_back(
        cases::compare_bits(name, part(changed.tensors.at(name)), part(plain.tensors.at(name))));
  }
}

}  // namespace sparity::suites::masking
