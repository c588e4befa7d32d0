#include "suites/selection/engineered_cases.h"

#include "src/tensors/at_dtype.h"
#include "suites/attention/masked_rows.h"
#include "suites/selection/key_choice.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace sparity::suites {

namespace {

using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

/// Keys of one problem: how many, which are there, and how many are chosen.
struct Problem {
  std::vector<std::int64_t> lengths;
  std::int64_t tokens = 0;
  std::int64_t k = 0;
  bool holes = false;  // a pair mask on top, with rows that it empties

  std::int64_t batch() const { return static_cast<std::int64_t>(lengths.size()); }
};

tensors::Inputs inputs_of(const SuiteContext& context, const Problem& problem) {
  tensors::Inputs inputs = masked_rows(problem.lengths, problem.tokens);
  if (problem.holes) {
    inputs.pair_mask =
        context.normal("selection.pairs", {problem.batch(), problem.tokens, problem.tokens}) > -0.3;
    inputs.pair_mask.slice(1, 0, problem.tokens, 5).fill_(false);
  }
  return inputs;
}

using Operands = TensorMap (*)(const SuiteContext&, const Problem&);

/// Each query's head weights: row s has those of pattern s mod the number of patterns.
at::Tensor cycled_weights(const SuiteContext& context, const Problem& problem,
                          const std::vector<std::vector<double>>& patterns) {
  std::vector<at::Tensor> rows;
  for (std::int64_t s = 0; s < problem.tokens; ++s) {
    rows.push_back(
        at::tensor(patterns[static_cast<std::size_t>(s) % patterns.size()], at::kDouble));
  }
  return at::stack(rows)
      .to(tensors::at_least_f32(context.activation()))
      .repeat({problem.batch(), 1, 1});
}

/// Queries that read channel h in head h; `noise` heads more read all the other channels.
at::Tensor channel_queries(const SuiteContext& context, const Problem& problem,
                           std::int64_t channels, std::int64_t noise) {
  at::Tensor q =
      at::zeros({problem.batch(), problem.tokens, channels + (noise > 0 ? 1 : 0), channels + noise},
                context.activation());
  for (std::int64_t h = 0; h < channels; ++h) {
    q.select(2, h).select(-1, h).fill_(1);
  }
  if (noise > 0) {
    q.select(2, channels)
        .narrow(-1, channels, noise)
        .copy_(context.normal("selection.q", {problem.batch(), problem.tokens, noise}));
  }
  return q;
}

constexpr std::int64_t kBase = 32;  // of the digits in which ranks are written; exact in bfloat16
constexpr std::int64_t kNoise = 6;  // channels of noise, which the third head weighs
constexpr double kNoiseWeight = 1.0 / 1024;

/// Scores near ±(low digit) ± 32·(high digit) of `ranks` I64 [B, T]: whole numbers, all different,
/// with a hundredth of noise on top.
TensorMap ranked(const SuiteContext& context, const Problem& problem, const at::Tensor& ranks,
                 const std::vector<std::vector<double>>& patterns) {
  const at::Tensor noise = context.normal("selection.k", {problem.batch(), problem.tokens, kNoise});
  const at::Tensor digits = at::stack({ranks.remainder(kBase), ranks.floor_divide(kBase)}, -1);
  return {{"q", channel_queries(context, problem, 2, kNoise)},
          {"k", at::cat({digits.to(context.activation()), noise}, -1)},
          {"w", cycled_weights(context, problem, patterns)}};
}

TensorMap shuffled_ranks(const SuiteContext& context, const Problem& problem) {
  const at::Tensor ranks =
      context.normal("selection.ranks", {problem.batch(), problem.tokens}).argsort(true, -1, false);
  return ranked(context, problem, ranks,
                {{1, kBase, kNoiseWeight},
                 {-1, kBase, kNoiseWeight},
                 {1, -kBase, kNoiseWeight},
                 {-1, -kBase, kNoiseWeight}});
}

/// Every later key scores higher than every earlier one.
TensorMap rising_ranks(const SuiteContext& context, const Problem& problem) {
  const at::Tensor ranks =
      at::arange(problem.tokens, at::kLong).unsqueeze(0).repeat({problem.batch(), 1});
  return ranked(context, problem, ranks, {{1, kBase, kNoiseWeight}});
}

/// Every key's score is negative, and the earlier the higher.
TensorMap falling_negative_ranks(const SuiteContext& context, const Problem& problem) {
  const at::Tensor ranks =
      at::arange(1, problem.tokens + 1, at::kLong).unsqueeze(0).repeat({problem.batch(), 1});
  return ranked(context, problem, ranks, {{-1, -kBase, kNoiseWeight}});
}

/// Small whole numbers, and zeros of both signs: few different scores among many keys.
TensorMap tied(const SuiteContext& context, const Problem& problem) {
  return {{"q", channel_queries(context, problem, 2, 0)},
          {"k", context.normal("selection.k", {problem.batch(), problem.tokens, 2}).round()},
          {"w", cycled_weights(context, problem,
                               {{1, 1}, {-1, -1}, {1, -1}, {0, 0}, {-0.0, -0.0}, {-0.0, 1}})}};
}

/// The smallest distance between neighbours in the order of any row's finite scores.
double smallest_gap(const at::Tensor& scores) {
  const at::Tensor sorted = std::get<0>(scores.sort(-1, true));
  const std::int64_t last = scores.size(-1) - 1;
  const at::Tensor gaps = sorted.narrow(-1, 0, last) - sorted.narrow(-1, 1, last);
  return gaps.masked_select(gaps.isfinite()).min().item<double>();
}

constexpr double kClearMargin = 10;  // S7a: margins in units of what an honest score errs by

/// That no rounding could have exchanged two keys, or equality of the choices claims too much.
judge::Condition clear_margins(const SuiteContext& context, const Problem& problem,
                               const TensorMap& operands) {
  TensorMap widened;
  for (const auto& [name, tensor] : operands) {
    widened.emplace(name, tensor.to(at::kDouble));
  }
  const tensors::Inputs inputs = inputs_of(context, problem);
  const at::Tensor truth = reference_choice(widened, inputs, problem.k).back().second;
  const at::Tensor honest = reference_choice(operands, inputs, problem.k).back().second;
  const at::Tensor finite = truth.isfinite();
  const double largest = truth.masked_select(finite).abs().max().item<double>();
  const double error = (honest - truth).masked_select(finite).abs().max().item<double>();
  const double epsilon =
      std::max(error, core::ulp(largest, tensors::to_dtype(honest.scalar_type())));
  const double margin = smallest_gap(truth) / epsilon;
  return {.name = "margins of at least ten times an honest score's error",
          .exercised = margin >= kClearMargin,
          .required = true,
          .detail = fmt::format("smallest margin {:.4g} times the error {:.4g}", margin, epsilon)};
}

cases::Case choice_case(const std::string& name, Problem problem, Operands operands) {
  cases::Case choice = cases::op_case({
      .suite = "selection",
      .name = name,
      .inputs = [problem,
                 operands](const SuiteContext& context) { return operands(context, problem); },
      .reference =
          [problem](const SuiteContext& context, const TensorMap& in) {
            return reference_choice(in, inputs_of(context, problem), problem.k);
          },
      .candidate =
          [problem](const SuiteContext& context, const TensorMap& in) {
            return candidate_choice(in, inputs_of(context, problem), problem.k);
          },
  });
  if (operands == tied) {
    return choice;
  }
  choice.run = [problem, operands, run = std::move(choice.run)](const SuiteContext& context,
                                                                judge::CaseRecord& record) {
    run(context, record);
    record.conditions.push_back(clear_margins(context, problem, operands(context, problem)));
  };
  return choice;
}

}  // namespace

std::vector<cases::Case> engineered_selection_cases() {
  return {
      choice_case("every_visible_key_is_taken_when_k_exceeds_them",
                  {.lengths = {9, 4}, .tokens = 9, .k = 12}, rising_ranks),
      choice_case("keys_with_clear_margins_never_flip",
                  {.lengths = {53, 37}, .tokens = 53, .k = 12}, shuffled_ranks),
      choice_case("the_one_best_key_is_taken", {.lengths = {41, 5}, .tokens = 41, .k = 1},
                  shuffled_ranks),
      choice_case("k_equals_the_number_of_keys", {.lengths = {34, 34}, .tokens = 34, .k = 34},
                  shuffled_ranks),
      choice_case("future_keys_that_score_highest_are_not_taken",
                  {.lengths = {45, 33}, .tokens = 45, .k = 6}, rising_ranks),
      choice_case("keys_are_taken_when_every_score_is_negative",
                  {.lengths = {45, 33}, .tokens = 45, .k = 6}, falling_negative_ranks),
      choice_case("rows_without_a_key_take_none", {.lengths = {38, 0, 3}, .tokens = 38, .k = 5},
                  shuffled_ranks),
      choice_case("a_pair_mask_with_holes_and_empty_rows",
                  {.lengths = {43, 31}, .tokens = 43, .k = 7, .holes = true}, shuffled_ranks),
      choice_case("several_tiles_of_queries_and_keys", {.lengths = {300}, .tokens = 300, .k = 40},
                  shuffled_ranks),
      choice_case("a_tile_of_one_key_more", {.lengths = {257}, .tokens = 257, .k = 256},
                  rising_ranks),
      choice_case("ties_take_the_lower_index", {.lengths = {53, 37}, .tokens = 53, .k = 12}, tied),
      choice_case("ties_across_tiles_take_the_lower_index",
                  {.lengths = {290}, .tokens = 290, .k = 64}, tied),
      choice_case("ties_under_a_pair_mask",
                  {.lengths = {43, 31}, .tokens = 43, .k = 7, .holes = true}, tied),
  };
}

}  // namespace sparity::suites
