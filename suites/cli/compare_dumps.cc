#include "suites/cli/compare_dumps.h"

#include "suites/cli/compare_tensors.h"
#include "suites/cli/compared_choices.h"
#include "suites/cli/compared_dumps.h"
#include "suites/cli/dump.h"
#include "suites/judge/name_sets.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

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
  line += options.trust_baseline ? " --trust-baseline" : "";
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
  ComparedChoices choices(options, dumps);
  for (const std::string& name : in_execution_order(dumps.candidate())) {
    if (!dumps.truth().contains(name) || name.starts_with("grad.")) {
      continue;  // failed by judge_names, or judged below
    }
    if (!is_choice(name) || !dumps.paired(name)) {
      record.comparisons.push_back(judge_tensor(dumps, name));
      continue;
    }
    if (!choices.judge(name, record)) {
      break;
    }
  }
  std::ranges::move(judge_own_losses(dumps), std::back_inserter(record.comparisons));
  if (choices.followed()) {
    std::ranges::move(judge_parameter_gradients(dumps), std::back_inserter(record.comparisons));
  }
  choices.finish(record);
  return record;
}

}  // namespace sparity::cli
