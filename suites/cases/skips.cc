#include "suites/cases/skips.h"

#include <utility>

namespace sparity::cases {

bool skip(judge::CaseRecord& record, std::string reason) {
  record.verdict = judge::Verdict::kSkip;
  record.message = std::move(reason);
  return true;
}

bool skip_without_labels(const SuiteContext& context, judge::CaseRecord& record) {
  return !context.inputs().labels.defined() &&
         skip(record, "the inputs have no labels, so there is no LM loss");
}

bool skip_another_model(const SuiteContext& context, judge::CaseRecord& record) {
  return !context.options().embedded &&
         skip(record,
              "trains the embedded model alone: optimizers and float64 copies of another might not "
              "fit in memory");
}

bool skip_without_experts(const SuiteContext& context, judge::CaseRecord& record) {
  return context.first_moe_layer() < 0 && skip(record, "the model has no routed experts");
}

Case of_our_implementation(Case c) {
  auto run = [inner = std::move(c.run)](const SuiteContext& context, judge::CaseRecord& record) {
    if (!context.options().own_model) {
      skip(record, "judges Sparity's own implementation, which is done on embedded configs");
      return;
    }
    inner(context, record);
  };
  return {std::move(c.suite), std::move(c.name), std::move(run)};
}

}  // namespace sparity::cases
