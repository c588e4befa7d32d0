#include "suites/cli/compare_dumps.h"

#include "suites/cli/compare_tensors.h"
#include "suites/cli/compared_dumps.h"
#include "suites/cli/dump.h"
#include "suites/judge/grouped_selection.h"
#include "suites/judge/name_sets.h"
#include "suites/judge/outcome.h"
#include "suites/judge/selection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>

namespace sparity::cli {

namespace {

std::vector<std::string> in_execution_order(const Dump& dump) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : dump.tensors) {
    names.push_back(name);
  }
  std::ranges::stable_sort(names, {}, execution_order);
  return names;
}

/// Both choose the same items in every row, in any order.
bool same_sets(const judge::Tensor& a, const judge::Tensor& b) {
  if (a.shape != b.shape) {
    return false;
  }
  for (std::size_t row = 0; row < a.rows(); ++row) {
    const auto left = a.row(row);
    const auto right = b.row(row);
    if (std::multiset<double>(left.begin(), left.end()) !=
        std::multiset<double>(right.begin(), right.end())) {
      return false;
    }
  }
  return true;
}

void judge_names(const CompareOptions& options, const ComparedDumps& dumps,
                 judge::CaseRecord& record) {
  std::vector<std::string> expected = in_execution_order(dumps.truth());
  const std::vector<std::string> found = in_execution_order(dumps.candidate());
  if (options.partial) {
    std::vector<std::string> absent;
    std::erase_if(expected, [&](const std::string& name) {
      if (!dumps.candidate().contains(name)) {
        absent.push_back(name);
        return true;
      }
      return false;
    });
    for (const std::string& name : absent) {
      record.conditions.push_back({fmt::format("'{}' is compared", name), false, false,
                                   "the candidate's dump does not hold it (--partial)"});
    }
  }
  record.comparisons = judge::compare_names(found, expected);
}

void judge_keys(const ComparedDumps& dumps, const std::string& name, judge::CaseRecord& record) {
  const std::string scores = scores_of(name);
  if (!dumps.truth().contains(scores) || !dumps.baseline()) {
    record.conditions.push_back({fmt::format("choice '{}' is judged", name), false, false,
                                 fmt::format("needs '{}' in the truth and in a baseline", scores)});
    return;
  }
  const judge::Tensor& own_indices = dumps.candidate().at(name);
  const judge::Choice own{
      dumps.candidate().contains(scores) ? &dumps.candidate().at(scores) : nullptr, &own_indices};
  const judge::SelectionClaim claim{.tensor = name,
                                    .k = own_indices.shape.empty() ? 0 : own_indices.shape.back(),
                                    .ties = judge::TiePolicy::kAny,
                                    .reduction_length = dumps.reduction_length(),
                                    .samples = dumps.samples()};
  const judge::SelectionResult result = judge::compare_selection(
      claim, own, {dumps.baseline_tensor(scores), nullptr}, dumps.truth().at(scores));
  record.comparisons.push_back(result.comparison);
  record.selections.push_back(result.summary);
}

void judge_experts(const ComparedDumps& dumps, const std::string& name, judge::CaseRecord& record) {
  const bool possible = dumps.config() && dumps.baseline() && dumps.paired(scores_of(name));
  if (!possible) {
    record.conditions.push_back(
        {fmt::format("choice '{}' is judged", name), false, false,
         "needs --model (for the routers' biases), --baseline and gate.scores of the truth's "
         "shape"});
    return;
  }
  dumps.baseline_tensor(scores_of(name));
  const judge::Tensor own = dumps.choice_scores(dumps.candidate(), name);
  const judge::Tensor honest = dumps.choice_scores(*dumps.baseline(), name);
  const judge::Tensor truth = dumps.choice_scores(dumps.truth(), name);
  const judge::GroupedClaim claim{.tensor = name,
                                  .groups = dumps.config()->n_group,
                                  .kept_groups = dumps.config()->topk_group,
                                  .k = dumps.config()->num_experts_per_tok,
                                  .ties = judge::TiePolicy::kAny,
                                  .reduction_length = dumps.reduction_length(),
                                  .samples = dumps.samples()};
  const judge::Tensor chosen = dumps.without_padding(dumps.candidate().at(name));
  const judge::GroupedResult result =
      judge::compare_grouped_selection(claim, {&own, &chosen}, {&honest, nullptr}, truth);
  record.comparisons.push_back(result.groups.comparison);
  record.comparisons.push_back(result.experts.comparison);
  record.selections.push_back(result.experts.summary);
}

/// The command line that repeats the comparison.
std::string rerun(const CompareOptions& options) {
  std::string line = "sparity compare " + options.candidate + " --truth " + options.truth;
  const auto add = [&](const std::string& flag, const std::string& value) {
    line += value.empty() ? "" : " " + flag + " " + value;
  };
  add("--baseline", options.baseline);
  add("--inputs", options.inputs);
  add("--model", options.model);
  add("--dtype", options.dtype ? std::string(core::to_string(*options.dtype)) : "");
  return line + (options.partial ? " --partial" : "");
}

}  // namespace

judge::CaseRecord compare_dumps(const CompareOptions& options) {
  const ComparedDumps dumps(options);
  judge::CaseRecord record;
  record.suite = "compare";
  record.name = "dump";
  record.config = options.candidate;
  record.rerun = rerun(options);
  record.dtype = std::string(core::to_string(dumps.dtype()));
  record.recipe = dumps.baseline() && dumps.baseline()->metadata.contains("recipe")
                      ? dumps.baseline()->metadata.at("recipe")
                      : "";
  record.conditions = dumps.conditions();
  judge_names(options, dumps, record);
  std::string diverged;  // the first choice that the truth did not run with
  for (const std::string& name : in_execution_order(dumps.candidate())) {
    if (!dumps.truth().contains(name) || name.starts_with("grad.")) {
      continue;  // failed by judge_names, or judged below
    }
    if (!is_choice(name) || !dumps.paired(name)) {
      record.comparisons.push_back(judge_tensor(dumps, name));
      continue;
    }
    name.ends_with(".indexer.topk_indices") ? judge_keys(dumps, name, record)
                                            : judge_experts(dumps, name, record);
    if (!same_sets(dumps.candidate().at(name), dumps.truth().at(name))) {
      diverged = name;
      break;
    }
  }
  if (diverged.empty()) {
    std::ranges::move(judge_parameter_gradients(dumps), std::back_inserter(record.comparisons));
  }
  judge::settle(record);
  if (!diverged.empty() && record.verdict == judge::Verdict::kPass) {
    record.verdict = judge::Verdict::kInconclusive;
    record.message = fmt::format(
        "the truth ran with another choice than the candidate's '{}': what comes after was not "
        "judged; "
        "repeat the truth's and the baseline's `sparity run` with --force {} --force-names "
        "'*topk_indices'",
        diverged, options.candidate);
  }
  return record;
}

}  // namespace sparity::cli
