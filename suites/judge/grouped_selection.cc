#include "suites/judge/grouped_selection.h"

#include "src/core/error.h"
#include "suites/judge/selection_rows.h"
#include "suites/judge/top_k.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

namespace sparity::judge {

namespace {

constexpr double kMasked = -std::numeric_limits<double>::infinity();

/// Top k of every row, −1 as tail.
Tensor best_of(const Tensor& scores, std::int64_t k) {
  Tensor indices{.dtype = core::Dtype::kI64, .shape = scores.shape, .values = {}};
  indices.shape.back() = std::min(k, scores.shape.back());
  for (std::size_t row = 0; row < scores.rows(); ++row) {
    std::vector<std::int64_t> best = top_k(scores.row(row), k);
    best.resize(static_cast<std::size_t>(indices.shape.back()), -1);
    indices.values.insert(indices.values.end(), best.begin(), best.end());
  }
  return indices;
}

/// The expert scores with −inf outside the given groups. A NaN stays, for S2 to find.
Tensor within_groups(const Tensor& expert_scores, const Tensor& groups, std::int64_t group_count) {
  Tensor masked = expert_scores;
  const std::int64_t group_size = expert_scores.shape.back() / group_count;
  const std::size_t experts = expert_scores.columns();
  for (std::size_t row = 0; row < expert_scores.rows(); ++row) {
    const auto kept = groups.row(row);
    for (std::size_t expert = 0; expert < experts; ++expert) {
      const auto group = static_cast<double>(static_cast<std::int64_t>(expert) / group_size);
      double& score = masked.values[row * experts + expert];
      if (!std::isnan(score) && std::ranges::find(kept, group) == kept.end()) {
        score = kMasked;
      }
    }
  }
  return masked;
}

/// One side's two stages.
struct Stages {
  Tensor group_scores;
  Tensor groups;
  Tensor masked;  // expert scores within its own groups
};

Stages stages_of(const GroupedClaim& claim, const Tensor& expert_scores) {
  Tensor scores = group_scores(expert_scores, claim.groups);
  Tensor groups = best_of(scores, claim.kept_groups);
  Tensor masked = within_groups(expert_scores, groups, claim.groups);
  return {std::move(scores), std::move(groups), std::move(masked)};
}

std::vector<bool> rows_choosing_as(const Tensor& masked_truth, const Tensor& indices,
                                   const GroupedClaim& claim) {
  std::vector<bool> same(masked_truth.rows(), false);
  if (indices.rows() != masked_truth.rows()) {
    return same;
  }
  for (std::size_t row = 0; row < same.size(); ++row) {
    same[row] =
        flips_of_row(masked_truth.row(row), indices.row(row), claim.k, claim.ties).count == 0;
  }
  return same;
}

}  // namespace

Tensor group_scores(const Tensor& expert_scores, std::int64_t groups) {
  SPARITY_CHECK(!expert_scores.shape.empty() && groups >= 1 &&
                    expert_scores.shape.back() % groups == 0 &&
                    expert_scores.shape.back() / groups >= 2,
                fmt::format("scores of shape {} do not fall into {} groups of at least 2",
                            describe_shape(expert_scores.shape), groups));
  Tensor scores{.dtype = expert_scores.dtype, .shape = expert_scores.shape, .values = {}};
  scores.shape.back() = groups;
  const auto size = static_cast<std::size_t>(expert_scores.shape.back() / groups);
  for (std::size_t first = 0; first < expert_scores.values.size(); first += size) {
    std::vector<double> members(
        expert_scores.values.begin() + static_cast<std::ptrdiff_t>(first),
        expert_scores.values.begin() + static_cast<std::ptrdiff_t>(first + size));
    // A NaN has no place in an order; the second stage reports it.
    std::ranges::replace_if(
        members, [](double score) { return std::isnan(score); }, kMasked);
    std::ranges::partial_sort(members, members.begin() + 2, std::ranges::greater());
    scores.values.push_back(rounded(members[0] + members[1], expert_scores.dtype));
  }
  return scores;
}

GroupedResult compare_grouped_selection(const GroupedClaim& claim, const Choice& candidate,
                                        const Choice& baseline, const Tensor& truth_scores) {
  SPARITY_CHECK(
      candidate.scores != nullptr && candidate.indices != nullptr && baseline.scores != nullptr,
      claim.tensor + ": a grouped selection needs both sides' scores");
  const SelectionClaim experts{
      .tensor = claim.tensor,
      .k = claim.k,
      .ties = claim.ties,
      .reduction_length = claim.reduction_length,
      .samples = claim.samples,
  };
  GroupedResult result;
  if (candidate.scores->shape != truth_scores.shape) {
    result.experts = compare_selection(experts, candidate, baseline, truth_scores);
    result.flip_free = result.experts.flip_free;
    return result;
  }
  const Stages own = stages_of(claim, *candidate.scores);
  const Stages honest = stages_of(claim, *baseline.scores);
  const Stages right = stages_of(claim, truth_scores);
  SelectionClaim groups = experts;
  groups.tensor += ".groups";
  groups.k = claim.kept_groups;
  // The candidate's groups are derived from its scores here, so S2 would only judge this function.
  result.groups = compare_selection(groups, {.scores = nullptr, .indices = &own.groups},
                                    {.scores = &honest.group_scores, .indices = &honest.groups},
                                    right.group_scores);
  const Tensor truth_in_own = within_groups(truth_scores, own.groups, claim.groups);
  const Tensor baseline_in_own = within_groups(*baseline.scores, own.groups, claim.groups);
  const Tensor truth_in_honest = within_groups(truth_scores, honest.groups, claim.groups);
  const Tensor baseline_choice =
      baseline.indices != nullptr ? *baseline.indices : best_of(honest.masked, claim.k);
  result.experts = compare_selection(experts, {.scores = &own.masked, .indices = candidate.indices},
                                     {.scores = &baseline_in_own, .indices = &baseline_choice},
                                     truth_in_own, &truth_in_honest);
  result.flip_free = rows_choosing_as(right.masked, *candidate.indices, claim);
  return result;
}

}  // namespace sparity::judge
