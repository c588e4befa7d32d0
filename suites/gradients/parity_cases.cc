#include "suites/gradients/parity_cases.h"

#include "suites/cases/skips.h"
#include "suites/gradients/backward_runs.h"
#include "suites/masking/mask_forms.h"

namespace sparity::suites::gradients {

namespace {

using cases::Case;
using cases::SuiteContext;
using core::AttentionMode;

std::string mode_name(AttentionMode mode) { return std::string(core::to_string(mode)); }

void judge_all(const SuiteContext& context, const cases::BackwardPlan& plan,
               judge::CaseRecord& record) {
  const ThreeRuns runs = run_three(context, plan);
  cases::judge_intermediate_gradients(context, runs.sides(), record);
  cases::judge_parameter_gradients(context, runs.sides(), record);
}

Case loss_case(AttentionMode mode) {
  return {"gradients", "of_the_lm_loss_in_" + mode_name(mode) + "_mode",
          [=](const SuiteContext& context, judge::CaseRecord& record) {
            if (!cases::skip_without_labels(context, record)) {
              judge_all(context, {.inputs = context.inputs(), .attention = mode}, record);
            }
          }};
}

/// A loss has one cotangent, whose rows sum to zero: random ones see what it cannot.
Case cotangent_case(const masking::MaskForm& form, AttentionMode mode) {
  return {"gradients",
          "of_random_cotangents_under_" + form.name + "_in_" + mode_name(mode) + "_mode",
          [=](const SuiteContext& plain, judge::CaseRecord& record) {
            const SuiteContext context = masking::with_form(plain, form);
            judge_all(context,
                      {.inputs = context.inputs(),
                       .attention = mode,
                       .cotangent = cotangent_for(context, "gradients.cotangent")},
                      record);
          }};
}

}  // namespace

std::vector<Case> parity_cases() {
  std::vector<Case> all = {loss_case(AttentionMode::kSparse), loss_case(AttentionMode::kDense)};
  for (const masking::MaskForm& form : masking::mask_forms()) {
    for (const AttentionMode mode : {AttentionMode::kSparse, AttentionMode::kDense}) {
      all.push_back(cotangent_case(form, mode));
    }
  }
  return all;
}

}  // namespace sparity::suites::gradients
