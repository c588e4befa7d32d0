#include "suites/selection/thread_cases.h"

#include "src/tensors/at_dtype.h"
#include "suites/attention/masked_rows.h"
#include "suites/cases/skips.h"
#include "suites/cases/threads.h"
#include "suites/selection/key_choice.h"

#include <fmt/format.h>

namespace sparity::suites {

namespace {

using cases::SuiteContext;

/// More queries than one share of the work, rows of unequal length, and more keys than are chosen.
void judge_threads(const SuiteContext& context, judge::CaseRecord& record) {
  const std::int64_t tokens = 301;
  const std::int64_t heads = 6;
  const std::int64_t width = 24;
  const cases::TensorMap operands = {
      {"q", context.normal("selection.q", {2, tokens, heads, width})},
      {"k", context.normal("selection.k", {2, tokens, width})},
      {"w", context.normal("selection.w", {2, tokens, heads})
                .to(tensors::at_least_f32(context.activation()))}};
  const tensors::Inputs inputs = masked_rows({tokens, 187}, tokens);
  const auto run = [&](int count) {
    const cases::Threads limit(count);
    return candidate_choice(operands, inputs, 40);
  };
  const cases::Outputs one = run(1);
  for (const int count : {2, 3}) {
    const cases::Outputs more = run(count);
    for (std::size_t i = 0; i < one.size(); ++i) {
      record.comparisons.push_back(cases::compare_bits(
          fmt::format("{} with {} threads", one[i].first, count), more[i].second, one[i].second));
    }
  }
}

}  // namespace

std::vector<cases::Case> thread_cases() {
  return {cases::of_our_implementation(
      {"selection", "choice_depends_on_no_thread_count", judge_threads})};
}

}  // namespace sparity::suites
