#pragma once

#include "suites/judge/selection.h"
#include "suites/judge/tensor.h"

#include <cstdint>
#include <optional>
#include <string>

namespace sparity::judge {

/// A router's choice in two stages: the best groups by the sum of their two best expert scores,
/// then the best experts within those groups (DeepSeek-V3, noaux_tc).
struct GroupedClaim {
  std::string tensor;            // trace name of the expert indices
  std::int64_t groups = 1;       // G, divides E
  std::int64_t kept_groups = 1;  // Gk
  std::int64_t k = 1;            // experts chosen
  TiePolicy ties = TiePolicy::kLowIndex;
  std::int64_t reduction_length = 1;
  std::optional<std::int64_t> samples = std::nullopt;  // as in SelectionClaim
};

struct GroupedResult {
  SelectionResult groups;   // S3, S4 on group scores, "<tensor>.groups"
  SelectionResult experts;  // S2 end to end; S3, S4 among the experts of the candidate's own groups
  std::vector<bool> flip_free;  // per row: the candidate chose truth's experts
};

/// Group scores [… G] of expert scores [… E]: the sum of the two largest in each group, rounded
/// once to the scores' dtype, as one addition does.
Tensor group_scores(const Tensor& expert_scores, std::int64_t groups);

/// Judges a two-stage choice (verification specification, b.6). Scores are those that selection
/// goes by, bias included. A group swap is explained by group score errors; experts are then judged
/// within the groups that the candidate's own scores give, so that one explained group swap does
/// not read as unexplained expert flips. All scores are needed. Throws as compare_selection does.
GroupedResult compare_grouped_selection(const GroupedClaim& claim, const Choice& candidate,
                                        const Choice& baseline, const Tensor& truth_scores);

}  // namespace sparity::judge
